// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/run_directory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "runtime/base/error.h"

namespace muster {

bool RunFiles::came_to_nothing() const {
  FileSystem& files = posix_file_system();
  return files.exists(failure()) && read_file_if_there(metrics()).value_or("").empty() &&
         files.list(checkpoints()).empty() && files.list(model()).empty();
}

void check_run_name(std::string_view name) {
  const auto fine = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  };
  if (name.empty() || name.front() == '.' || name.size() > 120 ||
      !std::ranges::all_of(name, fine)) {
    throw Error(Fault::bad_input, fmt::format("name = '{}' cannot name a directory: use up to 120 "
                                              "letters, digits, '-', '_' and '.', and no '.' first",
                                              name));
  }
}

}  // namespace muster
