/// shell: a line of shell, what it printed on both outputs, and how it ended.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace muster::test {

struct ShellOutcome {
  int code = -1;  ///< 128 + signal where one ended it
  std::string output;
};

inline ShellOutcome shell(const std::string& line) {
  ShellOutcome outcome;
  std::FILE* pipe = ::popen(("( " + line + "\n) 2>&1 < /dev/null").c_str(), "r");
  std::array<char, 4096> piece{};
  while (const auto count = std::fread(piece.data(), 1, piece.size(), pipe)) {
    outcome.output.append(piece.data(), count);
  }
  const int status = ::pclose(pipe);
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return outcome;
}

}  // namespace muster::test
