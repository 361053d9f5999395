// Kernels: known by the names they are registered with; those of others compute nothing.
// SPDX-License-Identifier: Apache-2.0
#include <cxxabi.h>

#include <cstdlib>
#include <vector>

#include "tests/gpu/pretend_card/card.h"

using muster::pretend::card;

namespace {

struct Kernel {
  std::string name;
  int most_shared = 49152;  // dynamic, unless raised
};

struct Kernels {
  std::map<const void*, Kernel> of;
  std::map<const void*, void*> variables;
};
Kernels& kernels() {
  static auto* all = new Kernels;
  return *all;
}

struct Configuration {
  dim3 grid;
  dim3 block;
  std::size_t shared = 0;
  cudaStream_t stream = nullptr;
};
thread_local std::vector<Configuration> configurations;

std::string readable(const char* name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string result = status == 0 ? text : name;
  std::free(text);  // NOLINT(cppcoreguidelines-no-malloc): as the ABI gives it
  return result;
}

Kernel* kernel_of(const void* function) {
  const auto found = kernels().of.find(function);
  return found == kernels().of.end() ? nullptr : &found->second;
}

std::string sizes(const dim3& size) {
  return std::to_string(size.x) + "x" + std::to_string(size.y) + "x" + std::to_string(size.z);
}

cudaError_t launch(const void* function, dim3 grid, dim3 block, std::size_t shared,
                   cudaStream_t stream) {
  const std::lock_guard lock(card().mutex);
  const Kernel* kernel = kernel_of(function);
  if (kernel == nullptr) {
    return card().fault(cudaErrorInvalidDeviceFunction, "a launch of what is no kernel");
  }
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 2147483647U || grid.y > 65535 || grid.z > 65535 ||
      shared > static_cast<std::size_t>(kernel->most_shared)) {
    return card().fault(cudaErrorInvalidConfiguration,
                        kernel->name + " with " + sizes(grid) + " blocks of " + sizes(block) +
                            " threads and " + std::to_string(shared) + " bytes");
  }
  return card().add(stream, kernel->name + " <" + sizes(grid) + ", " + sizes(block) + ">", {});
}

}  // namespace

extern "C" {

void** __cudaRegisterFatBinary(void* /*binary*/) {
  static void* one = nullptr;
  return &one;
}
void __cudaRegisterFatBinaryEnd(void** /*binary*/) {}
void __cudaUnregisterFatBinary(void** /*binary*/) {}
void __cudaRegisterFunction(void** /*binary*/, const char* host, char* /*device*/, const char* name,
                            int /*limit*/, uint3* /*tid*/, uint3* /*bid*/, dim3* /*block*/,
                            dim3* /*grid*/, int* /*warp*/) {
  const std::lock_guard lock(card().mutex);
  kernels().of[host] = {.name = name};
}
void __cudaRegisterVar(void** /*binary*/, char* host, char* /*address*/, const char* /*name*/,
                       int /*external*/, std::size_t bytes, int /*constant*/, int /*global*/) {
  const std::lock_guard lock(card().mutex);
  kernels().variables[host] = card().give(bytes, true);
}

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t shared,
                                     CUstream_st* stream) {
  configurations.push_back({grid, block, shared, stream});
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared, void* stream) {
  const Configuration last = configurations.back();
  configurations.pop_back();
  *grid = last.grid;
  *block = last.block;
  *shared = last.shared;
  *static_cast<cudaStream_t*>(stream) = last.stream;
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** /*arguments*/,
                               std::size_t shared, cudaStream_t stream) {
  return launch(kernel, grid, block, shared, stream);
}
cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** /*arguments*/,
                             std::size_t shared, cudaStream_t stream) {
  return launch(function, grid, block, shared, stream);
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* how, const void* function,
                                void** /*arguments*/) {
  return launch(function, how->gridDim, how->blockDim, how->dynamicSmemBytes, how->stream);
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* of, const void* function) {
  *of = {};
  of->maxThreadsPerBlock = 1024;
  of->numRegs = 64;
  of->binaryVersion = of->ptxVersion = 90;
  const auto* kernel = kernel_of(function);
  of->maxDynamicSharedSizeBytes = kernel == nullptr ? 49152 : kernel->most_shared;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  const std::lock_guard lock(card().mutex);
  Kernel* kernel = kernel_of(function);
  if (kernel == nullptr) {
    return card().fault(cudaErrorInvalidDeviceFunction, "an attribute of what is no kernel");
  }
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    if (value > 232448) {
      return card().fault(cudaErrorInvalidValue, "more shared memory than a block can have");
    }
    kernel->most_shared = value;
  }
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks,
                                                                   const void* /*function*/,
                                                                   int threads, std::size_t shared,
                                                                   unsigned int /*flags*/) {
  *blocks = std::max(1, 1024 / std::max(threads, 1));
  if (shared > 0) {
    *blocks = std::min(*blocks, std::max(1, static_cast<int>(232448 / shared)));
  }
  return cudaSuccess;
}

cudaError_t cudaGetSymbolAddress(void** address, const void* symbol) {
  const std::lock_guard lock(card().mutex);
  *address = kernels().variables[symbol];
  return *address != nullptr ? cudaSuccess
                             : card().fault(cudaErrorInvalidSymbol, "a symbol that is not known");
}
cudaError_t cudaMemcpyToSymbol(const void* symbol, const void* from, std::size_t bytes,
                               std::size_t offset, cudaMemcpyKind kind) {
  void* address = nullptr;
  const cudaError_t error = cudaGetSymbolAddress(&address, symbol);
  return error != cudaSuccess ? error
                              : cudaMemcpy(static_cast<char*>(address) + offset, from, bytes, kind);
}

/// For who asks what happened (PRETEND_CARD_TRACE has it in order): what was queued or played, and
/// how often. A line each; the text is the caller's until the next call of its thread.
const char* pretend_card_counts() {
  const std::lock_guard lock(card().mutex);
  thread_local std::string text;
  text.clear();
  for (const auto& [what, count] : card().counts) {
    text += std::to_string(count) + "\t" + readable(what.substr(0, what.find(" <")).c_str()) +
            (what.find(" <") == std::string::npos ? "" : what.substr(what.find(" <"))) + "\n";
  }
  return text.c_str();
}
const char* pretend_card_faults() {
  const std::lock_guard lock(card().mutex);
  thread_local std::string text;
  text.clear();
  for (const std::string& fault : card().faults) {
    text += fault + "\n";
  }
  return text.c_str();
}
void pretend_card_reset() {
  const std::lock_guard lock(card().mutex);
  card().counts.clear();
  card().faults.clear();
}
std::uint64_t pretend_card_seed() {
  return muster::pretend::Line::seed();
}
std::size_t pretend_card_most_bytes() {
  return card().most_used();
}

}  // extern "C"
