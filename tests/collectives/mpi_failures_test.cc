// What ranks under a real mpirun say when one of them dies, aborts or calls something else: every
// one of those who are left must name it. SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include "runtime/base/text.h"
#include "tests/support/shell.h"
#include "tests/support/temporary_directory.h"

namespace muster::test {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::Each;
using testing::HasSubstr;
using testing::SizeIs;

struct Outcome : ShellOutcome {
  std::vector<std::string> words;  ///< what ranks said of the end of their group
};

std::string conformance() {
  return shell_quoted(std::getenv("MUSTER_CONFORMANCE"));
}

/// With recovery, mpirun lets those who are left go on; mpirun 5 ends before they do, and loses
/// what they print. So their words, from `speakers` of them, are in a file.
Outcome mpirun(int ranks, const std::string& words, std::size_t speakers) {
  const TemporaryDirectory directory;
  const Path file = directory.path() / "words";
  Outcome outcome{shell("env MUSTER_TEST_WORDS=" + file.string() +
                        " timeout 100 mpirun --allow-run-as-root --oversubscribe --bind-to none "
                        "--enable-recovery -np " +
                        std::to_string(ranks) + " " + conformance() + " " + words),
                  {}};
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  do {
    outcome.words = split(read_file_if_there(file).value_or(""), '\n');
    std::erase(outcome.words, "");
  } while (outcome.words.size() < speakers && std::chrono::steady_clock::now() < give_up);
  return outcome;
}

/// Each of those who are left says who died, in what.
void expect_named(const Outcome& outcome, std::size_t left, const std::string& dead) {
  EXPECT_THAT(
      outcome.words,
      AllOf(SizeIs(left), Each(ContainsRegex("rank [0-9]+: rank " + dead +
                                             " .process [0-9]+. died in all_reduce float32"))))
      << outcome.output;
}

TEST(MpiFailures, NameARankKilledInSharedMemory) {
  expect_named(mpirun(4, "killed 0 3", 3), 3, "3");
}

TEST(MpiFailures, NameARankKilledOnAnotherMachine) {
  expect_named(mpirun(4, "killed 2 3", 3), 3, "3");
}

/// Machines of two ranks and of one: MPI alone carries all, and shared memory still sees the dead.
TEST(MpiFailures, NameARankKilledWhereMpiCarriesAll) {
  expect_named(mpirun(3, "killed 2 1", 2), 2, "1");
}

TEST(MpiFailures, NameWhatRanksDisagreeAbout) {
  for (const auto* words : {"mismatch 0", "mismatch 1", "mismatch 2"}) {
    const auto outcome = mpirun(4, words, 4);
    EXPECT_THAT(outcome.words,
                AllOf(SizeIs(4), Each(HasSubstr("rank 1 calls all_reduce (sum) of 2001 float32 "
                                                "where rank 0 calls all_reduce (sum) of 2000"))))
        << words << outcome.output;
  }
}

TEST(MpiFailures, NameWhoAborted) {
  for (const auto* words : {"abort 0", "abort 1", "abort 2"}) {
    const auto outcome = mpirun(4, words, 4);
    EXPECT_THAT(outcome.words, AllOf(SizeIs(4), Each(HasSubstr("rank 3 aborted: out of milk"))))
        << words << outcome.output;
  }
}

/// MPI_Init would abort the process with words that help nobody.
TEST(MpiFailures, AskForPmixBeforeMpiIsTouched) {
  const auto outcome =
      shell("env SLURM_PROCID=0 SLURM_STEP_ID=0 SLURM_NTASKS=4 " + conformance() + " auto");
  EXPECT_EQ(outcome.code, 64);
  EXPECT_THAT(outcome.output, HasSubstr("add --mpi=pmix"));
}

}  // namespace
}  // namespace muster::test
