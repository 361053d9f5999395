// The program itself: what it links, how fast it starts, what it prints.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "runtime/base/exit_codes.h"
#include "runtime/base/text.h"
#include "tests/support/shell.h"

namespace muster::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string program() {
  const char* path = std::getenv("MUSTER_PROGRAM");
  return path == nullptr ? "bin/muster" : path;
}

ShellOutcome muster(const std::string& arguments) {
  return shell(shell_quoted(program()) + " " + arguments);
}

TEST(MusterProgram, LinksNeitherLibtorchNorMpi) {
  const auto libraries = shell("ldd " + shell_quoted(program())).output;
  EXPECT_THAT(libraries, HasSubstr("libc.so"));
  for (const auto* heavy : {"torch", "libc10", "libmpi", "pmix", "cuda", "nccl"}) {
    EXPECT_THAT(libraries, Not(HasSubstr(heavy)));
  }
}

/// Prints the time beside its bar; fails only where the program has clearly grown heavy, since a
/// loaded machine is no fault of ours.
TEST(MusterProgram, StartsInMilliseconds) {
  double best = 1e9;
  for (int round = 0; round < 10; ++round) {
    const auto start = std::chrono::steady_clock::now();
    ASSERT_EQ(muster("--version").code, 0);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  RecordProperty("start_ms", std::to_string(best));
  std::printf("best of 10 starts, shell included: %.1f ms (bar: 20)\n", best);
  EXPECT_LT(best, 500);
}

TEST(MusterProgram, DoctorExaminesThisMachine) {
  const auto outcome = muster("doctor --json");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const auto json = nlohmann::json::parse(outcome.output);
  for (const auto* part : {"mpi", "pmix", "slurm", "gpus", "nccl", "blas", "cores", "memory",
                           "shared_memory", "disk"}) {
    EXPECT_TRUE(json["parts"].contains(part)) << part;
  }
  EXPECT_THAT(muster("doctor").output, HasSubstr("This machine"));
}

TEST(MusterProgram, SaysWhatIsWrongWithACommandLine) {
  auto outcome = muster("doctor --jsno");
  EXPECT_EQ(outcome.code, exit_usage);
  EXPECT_THAT(outcome.output, HasSubstr("unknown key 'jsno' (did you mean 'json'?)"));
  outcome = muster("docter");
  EXPECT_EQ(outcome.code, exit_usage);
  EXPECT_THAT(outcome.output, HasSubstr("there is no command 'docter' (did you mean 'doctor'?)"));
  EXPECT_EQ(muster("").code, exit_usage);
}

TEST(MusterProgram, EveryCommandHasItsHelp) {
  const auto overview = muster("--help").output;
  int commands = 0;
  for (const auto& line : split(overview, '\n')) {
    if (!line.starts_with("  ") || line.starts_with("   ") || line.starts_with("  muster ")) {
      continue;
    }
    const auto name = words(line).front();
    const auto help = muster(name + " --help");
    EXPECT_EQ(help.code, 0) << name << ": " << help.output;
    EXPECT_THAT(help.output, HasSubstr("muster " + name)) << name;
    for (const auto& each : split(help.output, '\n')) {
      EXPECT_LE(each.size(), 80U) << name << ": " << each;
    }
    ++commands;
  }
  EXPECT_GT(commands, 0);
}

/// Standard output as JSON objects, one a line; what is no object (warnings of mpirun) is left out.
std::vector<nlohmann::json> objects_in(const std::string& output) {
  std::vector<nlohmann::json> objects;
  for (const auto& line : split(output, '\n')) {
    if (line.starts_with("{")) {
      objects.push_back(nlohmann::json::parse(line));
    }
  }
  return objects;
}

class BenchAllReduce : public testing::TestWithParam<const char*> {};

TEST_P(BenchAllReduce, SumsExactlyAtEverySize) {
  const std::string backend = GetParam();
  const bool uses_mpi = backend == "mpi" || backend == "two-level --machines 2";
  if (uses_mpi && shell("mpirun --version").code != 0) {
    GTEST_SKIP() << "needs Open MPI's mpirun";
  }
  if (uses_mpi) {  // in a sanitizer's build: Open MPI and hwloc keep what they allocated
    ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
  }
  const auto outcome = muster(
      "bench allreduce --ranks 4 --sizes 64,5000,1M --seconds 0.001 --json --backend " + backend);
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  const auto rows = objects_in(outcome.output);
  ASSERT_EQ(rows.size(), 6U) << outcome.output;
  for (const auto& row : rows) {
    EXPECT_EQ(row["errors"], 0);
    EXPECT_EQ(row["backend"], backend.substr(0, backend.find(' ')));
    EXPECT_EQ(row["ranks"], 4);
    EXPECT_EQ(row["count"].get<std::uint64_t>() * 4, row["size_bytes"].get<std::uint64_t>());
    EXPECT_GT(row["time_us"].get<double>(), 0);
    EXPECT_NEAR(row["busbw_gbs"].get<double>(), 1.5 * row["algbw_gbs"].get<double>(), 1e-9);
  }
}
INSTANTIATE_TEST_SUITE_P(Backends, BenchAllReduce,
                         testing::Values("thread", "shm", "mpi", "two-level --machines 2"));

TEST(BenchAllReduce, PrintsTheUsualTable) {
  const auto outcome =
      muster("bench allreduce --sizes 1K --seconds 0.001 --place in --dtype bfloat16");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  for (const auto* word : {"size", "count", "type", "time", "algbw", "busbw", "errors", "in place",
                           "1024          512  bfloat16", "# errors: 0; mean busbw:"}) {
    EXPECT_THAT(outcome.output, HasSubstr(word));
  }
}

TEST(BenchAllReduce, SaysWhatCannotBeMeasured) {
  const std::vector<std::pair<std::string, std::string>> refusals{
      {"--backend two-level --ranks 3 --machines 2", "3 ranks do not spread evenly"},
      {"--machines 2", "add --backend two-level"},
      {"--hosts a,b", "shm stays on this machine"},
      {"--sizes 4Q", "'4Q' is no size of a buffer"},
      {"--sizes 1M..1K", "ends before it begins"},
      {"--sizes 1000000G", "lower --sizes or --ranks"},
      {"--ranks 257", "ranks"},
      {"--backend gloo", "one of shm, thread, mpi"},
      {"--dtype int8", "dtype must be one of"},
      {"fast", "takes options only, not 'fast'"}};
  for (const auto& [options, sentence] : refusals) {
    const auto outcome = muster("bench allreduce " + options);
    EXPECT_EQ(outcome.code, exit_usage) << options;
    EXPECT_THAT(outcome.output, HasSubstr(sentence)) << options;
  }
  EXPECT_THAT(muster("bench latency").output, HasSubstr("there are allreduce and step"));
  EXPECT_THAT(muster("bench").output, HasSubstr("muster bench allreduce"));
}

TEST(BenchAllReduce, SaysThatNcclNeedsAGpu) {
  const auto outcome = muster("bench allreduce --backend nccl --ranks 20 --sizes 64");
  EXPECT_NE(outcome.code, 0) << "no machine shows 20";
  EXPECT_THAT(outcome.output,
              testing::AnyOf(HasSubstr("take --backend shm"), HasSubstr("train on CPU")));
}

}  // namespace
}  // namespace muster::test
