// SPDX-License-Identifier: Apache-2.0
#include "launcher/cli/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "launcher/cli/build_info.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"

namespace muster {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::testing::internal::CaptureStderr;
using ::testing::internal::CaptureStdout;
using ::testing::internal::GetCapturedStderr;
using ::testing::internal::GetCapturedStdout;

int succeed(const Arguments& arguments) {
  return arguments.empty() ? 0 : 75;
}
int fail_usage(const Arguments&) {
  throw Error(Fault::bad_input, "a.ini:3: unknown key 'x'");
}
int fail_disk(const Arguments&) {
  return within("saving step 900",
                []() -> int { throw Error(Fault::io, "write: No space left on device"); });
}
int show_help(const Arguments& arguments) {
  Keys keys;
  bool json = false;
  keys.add("json", json, "As JSON").only_on_command_line();
  const CommandHelp help{.usage = "muster ls [--json]",
                         .about = "Lists what there is. " + std::string(78, 'x') + " more words",
                         .examples = {{"muster ls", "all"}}};
  return take_command_line(keys, arguments, help) ? 1 : 0;
}
int show_long_usage(const Arguments& arguments) {
  Keys keys;
  const CommandHelp help{.usage =
                             "muster submit JOB.ini [--section.key value ...] [--print] "
                             "[--array A-B] [--dependency WHAT]",
                         .about = "Gives a job to Slurm."};
  return take_command_line(keys, arguments, help) ? 1 : 0;
}

constexpr std::array table{
    Command{"Run", "train", "Train a model", succeed},
    Command{"Run", "usage", "Fails", fail_usage},
    Command{"Run", "disk", "Fails", fail_disk},
    Command{"Watch", "ls", "List", show_help},
    Command{"Run", "submit", "Give a job to Slurm", show_long_usage},
};

std::string overview_of(const Arguments& arguments, int expected) {
  CaptureStdout();
  CaptureStderr();
  EXPECT_EQ(run_command(table, arguments), expected);
  const auto out = GetCapturedStdout();
  return out + GetCapturedStderr();
}

TEST(RunCommand, HandsTheArgumentsOnAndTheCodeBack) {
  EXPECT_EQ(run_command(table, {"train"}), 0);
  EXPECT_EQ(run_command(table, {"train", "x"}), 75);
}

TEST(RunCommand, ListsCommandsByGroup) {
  const auto text = overview_of({"--help"}, exit_finished);
  EXPECT_THAT(text, HasSubstr("Run\n  train       Train a model\n"));
  EXPECT_THAT(text, HasSubstr("Watch\n  ls          List\n"));
  EXPECT_EQ(overview_of({"help"}, exit_finished), text);
  EXPECT_EQ(overview_of({}, exit_usage), text);
}

TEST(RunCommand, ProposesTheNearestCommand) {
  EXPECT_EQ(overview_of({"trian"}, exit_usage),
            "muster: there is no command 'trian' (did you mean 'train'?); 'muster --help' lists "
            "them\n");
}

TEST(RunCommand, ErrorsBecomeASentenceAndACode) {
  EXPECT_EQ(overview_of({"usage"}, exit_usage), "muster usage: a.ini:3: unknown key 'x'\n");
  const auto text = overview_of({"disk"}, exit_failed);
  EXPECT_THAT(text, StartsWith("muster disk: saving step 900"));
  EXPECT_THAT(text, HasSubstr("because: write: No space left on device"));
}

TEST(RunCommand, TellsVersionsOfEverything) {
  const auto text = overview_of({"--version"}, exit_finished);
  EXPECT_THAT(text, StartsWith("muster " + build_version()));
  for (const auto* part : {"compiler", "MPI", "libtorch", "HDF5", "Boost", "fmt", "CUDA"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
}

TEST(TakeCommandLine, PrintsHelpWithUsageExamplesAndOptions) {
  const auto text = overview_of({"ls", "--help"}, exit_finished);
  EXPECT_THAT(text, StartsWith("Usage\n  muster ls [--json]\n"));
  EXPECT_THAT(text, HasSubstr("Examples\n  muster ls\n      all\n"));
  EXPECT_THAT(text, HasSubstr("--json"));
  EXPECT_THAT(text, HasSubstr("\nmore words\n"));
  EXPECT_EQ(overview_of({"help", "ls"}, exit_finished), text);
  EXPECT_EQ(overview_of({"ls", "--wrong", "-h"}, exit_finished), text);
}

TEST(TakeCommandLine, WrapsALongUsageAtItsBrackets) {
  const auto text = overview_of({"submit", "--help"}, exit_finished);
  EXPECT_THAT(text, StartsWith("Usage\n  muster submit JOB.ini [--section.key value ...] [--print] "
                               "[--array A-B]\n        [--dependency WHAT]\n"));
}

TEST(TakeCommandLine, HelpBehindTwoDashesBelongsToTheProgram) {
  EXPECT_EQ(run_command(table, {"ls", "--", "--help"}), 1);
}

}  // namespace
}  // namespace muster
