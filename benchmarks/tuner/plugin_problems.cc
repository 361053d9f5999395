// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include "benchmarks/tuner/problems.h"
#include "runtime/base/error.h"

namespace muster::benchmarks {

std::vector<Problem> plugin_problems(const std::string& file) {
  void* const library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    throw Error(Fault::bad_input, file + " cannot be opened (" + ::dlerror() + ")");
  }
  using List = void (*)(std::vector<Problem>&);
  const auto list = reinterpret_cast<List>(::dlsym(library, "muster_benchmark_problems"));
  if (list == nullptr) {
    throw Error(Fault::bad_input, file + " has no functions: it lacks MUSTER_PROBLEMS(list)");
  }
  std::vector<Problem> problems;
  list(problems);
  return problems;
}

}  // namespace muster::benchmarks
