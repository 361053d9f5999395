// muster-rank as a program, alone: the same command again.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "runtime/base/file_system.h"

namespace muster {
namespace {

using testing::HasSubstr;

struct Ending {
  int code = -1;
  std::string output;
};

class RankProgram : public testing::Test {
 protected:
  RankProgram() {
    std::string name = (std::filesystem::temp_directory_path() / "muster-rank-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
  }
  ~RankProgram() override { std::filesystem::remove_all(root_); }

  Ending run(const std::string& options) const {
    const std::string source = std::getenv("MUSTER_SOURCE");
    FILE* pipe = ::popen(("cd '" + source + "' && '" + std::getenv("MUSTER_RANK") +
                          "' configs/digits_mlp.ini --train.epochs 2 --train.progress false"
                          " --train.threads 1 --runs '" +
                          root_.string() + "' " + options + " 2>&1")
                             .c_str(),
                         "r");
    Ending ending;
    std::array<char, 4096> piece;
    while (const std::size_t count = ::fread(piece.data(), 1, piece.size(), pipe)) {
      ending.output.append(piece.data(), count);
    }
    ending.code = WEXITSTATUS(::pclose(pipe));
    return ending;
  }

  Path root_;
};

TEST_F(RankProgram, SaysThatARunIsFinishedAndLeavesItAlone) {
  const Ending first = run("");
  ASSERT_EQ(first.code, 0) << first.output;
  EXPECT_THAT(first.output, HasSubstr("finished after 46 steps"));
  const Path metrics = root_ / "digits_mlp" / "metrics.jsonl";
  const auto before = read_file_if_there(metrics);
  ASSERT_TRUE(before.has_value());
  const Ending again = run("--train.threads 2");
  EXPECT_EQ(again.code, 0) << again.output;
  EXPECT_THAT(again.output, HasSubstr("run 'digits_mlp' is finished already"));
  EXPECT_EQ(read_file_if_there(metrics), before);
}

TEST_F(RankProgram, RefusesOtherSettingsUnderTheSameName) {
  ASSERT_EQ(run("").code, 0);
  const Ending other = run("--optimizer.lr 1");
  EXPECT_EQ(other.code, 64);
  EXPECT_THAT(other.output, HasSubstr("optimizer.lr"));
  EXPECT_THAT(other.output, HasSubstr("--name NEW"));
}

TEST_F(RankProgram, RefusesABatchLargerThanTheSet) {
  const Ending ending = run("--train.batch_size 5000");
  EXPECT_EQ(ending.code, 64);
  EXPECT_THAT(ending.output, HasSubstr("train.batch_size = 5000 is larger than the set"));
}

}  // namespace
}  // namespace muster
