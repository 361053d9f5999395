// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "launcher/commands.h"
#include "runtime/base/error.h"

namespace muster {

/// Becomes muster-convert, which lies beside this program and links libhdf5 (convert_main.cc).
int command_convert(const Arguments& arguments) {
  const auto program =
      std::filesystem::read_symlink("/proc/self/exe").replace_filename("muster-convert");
  std::vector<std::string> words{program.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) {
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);
  ::execv(words[0].c_str(), pointers.data());
  throw_errno(fmt::format("run {} (it comes with muster; install it again)", program.string()),
              errno);
}

}  // namespace muster
