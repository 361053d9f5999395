// The Python example through the real program: configs/examples/ask_tell.py. Passed over where
// there is no python3. SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

TEST(AskTellExample, TunesAFunctionAndFindsItsFinishedSweepAgain) {
  if (std::system("python3 -c '' >/dev/null 2>&1") != 0) {
    GTEST_SKIP() << "no python3 here";
  }
  const char* both = std::getenv("MUSTER_EXAMPLE");  // program:directory of the examples
  ASSERT_TRUE(both != nullptr);
  const std::vector<std::string> parts = split(both, ':');
  const std::string& program = parts.front();
  const std::string& examples = parts.back();
  const std::string directory =
      testing::TempDir() + "ask_tell_example_" + std::to_string(::getpid());
  const std::string command = "MUSTER=" + program + " python3 " + examples + "/ask_tell.py " +
                              examples + "/ask_tell.ini --dir " + directory + " > " + directory +
                              ".out 2>" + directory + ".err";
  ASSERT_EQ(std::system(command.c_str()), 0) << read_file(directory + ".err");
  const std::string best = read_file(directory + ".out");
  EXPECT_NE(best.find("\"value\":"), std::string::npos);
  EXPECT_EQ(std::system(command.c_str()), 0);  // over already: the same answer
  EXPECT_EQ(read_file(directory + ".out"), best);
  for (const std::string ending : {"", ".out", ".err"}) {
    posix_file_system().remove(directory + ending);
  }
}

}  // namespace
}  // namespace muster
