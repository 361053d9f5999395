/// What tests of the launcher share: the programs they start, directories of their own, waiting for
/// a condition.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "runtime/base/file_system.h"
#include "tests/support/temporary_directory.h"

namespace muster::test {

/// The folder of the test programs: where this one lies.
inline Path program(const std::string& name) {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path() / name;
}

/// Looks every few milliseconds until `holds`, at most `seconds`: generous, since machines are
/// busy.
inline bool eventually(const std::function<bool()>& holds, int seconds = 30) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

/// A variable of this process, which it and what it starts see until this goes.
class SetVariable {
 public:
  SetVariable(std::string name, const std::string& value) : name_(std::move(name)) {
    const char* before = std::getenv(name_.c_str());
    before_ = before == nullptr ? std::nullopt : std::optional<std::string>(before);
    ::setenv(name_.c_str(), value.c_str(), 1);
  }
  ~SetVariable() {
    before_ ? ::setenv(name_.c_str(), before_->c_str(), 1) : ::unsetenv(name_.c_str());
  }
  SetVariable(const SetVariable&) = delete;
  SetVariable& operator=(const SetVariable&) = delete;

 private:
  std::string name_;
  std::optional<std::string> before_;
};

/// Alive and no zombie.
inline bool alive(pid_t pid) {
  const auto text = read_file_if_there("/proc/" + std::to_string(pid) + "/stat");
  const auto end = text ? text->rfind(')') : std::string::npos;
  return end != std::string::npos && end + 2 < text->size() && (*text)[end + 2] != 'Z';
}

}  // namespace muster::test
