// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu/open_gpus.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <mutex>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

struct Opened {
  Gpus* gpus = nullptr;
  std::string why;
  Fault fault = Fault::bad_input;  ///< io: what should be at hand does not work
};

/// The GPU half of libtorch registers itself when it is opened, if torch was not used before.
std::string open_torch() {
  if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr) {
    return {};
  }
  return fmt::format(
      "the GPU half of libtorch does not open ({}): name the folder of libtorch_cuda.so and those "
      "of its own needs in LD_LIBRARY_PATH",
      ::dlerror());
}

Opened open_module() {
  std::vector<std::string> looked;
  for (const auto& place : gpu_module_places()) {
    std::error_code none;
    if (fs::exists(place, none)) {
      Opened opened{.fault = Fault::io};
      opened.gpus = open_gpu_module(place, opened.why);
      return opened;
    }
    looked.push_back(place.string());
  }
  return {.why = fmt::format("libmuster_cuda.so is not there (looked for {}): configure with "
                             "-DMUSTER_WITH_CUDA=ON",
                             join(looked, ", "))};
}

/// Once a process: what a module leaves in libtorch stays.
const Opened& opened_once() {
  static std::once_flag once;
  static Opened opened;
  std::call_once(once, [] {
    opened = has_gpu_driver() ? open_module()
                              : Opened{.why = "there is no NVIDIA driver on this machine"};
  });
  return opened;
}

}  // namespace

bool has_gpu_driver() {
  std::error_code none;
  return fs::exists("/dev/nvidiactl", none) || fs::exists("/proc/driver/nvidia/version", none) ||
         fs::exists("/dev/dxg", none) ||  // Windows' own, seen from its Linux
         ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD) != nullptr;
}

std::vector<fs::path> gpu_module_places() {
  std::error_code none;
  const fs::path here = fs::read_symlink("/proc/self/exe", none).parent_path();
  constexpr auto name = "libmuster_cuda.so";
  return {here / name, here.parent_path() / "lib" / name, here.parent_path() / "lib64" / name};
}

Gpus* open_gpu_module(const fs::path& file, std::string& why) {
  why = open_torch();
  if (!why.empty()) {
    return nullptr;
  }
  void* module = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) {
    why = fmt::format("{} does not open: {}", file.string(), ::dlerror());
    return nullptr;
  }
  const auto open = reinterpret_cast<OpenGpus>(::dlsym(module, "muster_gpus"));
  if (open == nullptr) {
    why = file.string() + " is no GPU module of Muster";
    return nullptr;
  }
  return open(gpu_interface_version, &why);
}

void ask_for_queues() {
  ::setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
}

Gpus* open_gpus(const std::string& wanted, std::string& why) {
  if (wanted == "cpu") {
    why = "train.device = cpu";
    return nullptr;
  }
  const Opened& opened = opened_once();
  why = opened.why;
  if (opened.gpus == nullptr && wanted == "cuda") {
    throw Error(
        opened.fault,
        fmt::format("train.device = cuda, but {}; leave it at auto to train on the CPU", why));
  }
  return opened.gpus;
}

}  // namespace muster
