/// TemporaryDirectory: a directory of a test's own, gone with the test.
/// Declare it before what works in it: that has to end first.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "runtime/base/error.h"
#include "runtime/base/file_system.h"

namespace muster::test {

class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const Path& parent = std::filesystem::temp_directory_path()) {
    std::string name = (parent / "muster-test-XXXXXX").string();
    require(::mkdtemp(name.data()) != nullptr, "no directory can be made in " + parent.string());
    path_ = name;
  }
  /// In memory where there is such a place: no disk to wait for.
  static Path fast_parent() {
    return posix_file_system().exists("/dev/shm") ? "/dev/shm"
                                                  : std::filesystem::temp_directory_path();
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const Path& path() const { return path_; }

 private:
  Path path_;
};

}  // namespace muster::test
