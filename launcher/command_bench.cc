// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <vector>

#include "launcher/commands.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"

namespace muster {
namespace {

constexpr auto bench_usage =
    "Usage: muster bench NAME [--key value ...]\n\n"
    "  allreduce    What N ranks need to add up their buffers, by size and back-end\n"
    "  step         What a training step of N ranks costs beside one alone\n\n"
    "'muster bench NAME --help' tells its options.\n";

/// Becomes muster-bench-step, which lies beside this program and links libtorch.
[[noreturn]] void become_bench_step(const Arguments& arguments) {
  const auto program =
      std::filesystem::read_symlink("/proc/self/exe").replace_filename("muster-bench-step");
  std::vector<std::string> words{program.string()};
  words.insert(words.end(), arguments.begin() + 1, arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) {
    pointers.push_back(word.data());
  }
  pointers.push_back(nullptr);
  ::execv(words[0].c_str(), pointers.data());
  throw_errno(
      fmt::format("run {} (it comes with muster where libtorch was found; install it again)",
                  program.string()),
      errno);
}

}  // namespace

int command_bench(const Arguments& arguments) {
  const std::string name = arguments.empty() ? "" : arguments[0];
  if (name == "allreduce") {
    return command_bench_allreduce({arguments.begin() + 1, arguments.end()});
  }
  if (name == "step") {
    become_bench_step(arguments);
  }
  if (name == "--help" || name == "-h") {
    fmt::print("{}", bench_usage);
    return exit_finished;
  }
  throw Error(
      Fault::bad_input,
      name.empty()
          ? "bench needs a name: muster bench allreduce, or muster bench step"
          : fmt::format("nothing to measure is called '{}'; there are allreduce and step", name));
}

}  // namespace muster
