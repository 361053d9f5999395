// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <fmt/format.h>

#include "collectives/nccl/nccl_table.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::nccl {
namespace {

/// Two NCCLs in one process would each see half of the communicators: whatever is loaded is taken.
void* open_library(const std::vector<std::string>& names, std::string_view what,
                   std::string_view remedy) {
  for (const int mode : {RTLD_NOW | RTLD_NOLOAD, RTLD_NOW}) {
    for (const auto& name : names) {
      if (void* library = ::dlopen(name.c_str(), mode)) {
        return library;
      }
    }
  }
  throw Error(Fault::io, fmt::format("{} is not on this machine (looked for {}): {}", what,
                                     join(names, ", "), remedy));
}

class Library {
 public:
  explicit Library(void* handle) : handle_(handle) {}
  template <class Function>
  void optional(Function& function, const char* name) const {
    function = reinterpret_cast<Function>(::dlsym(handle_, name));
  }
  template <class Function>
  void needed(Function& function, const char* name) const {
    optional(function, name);
    if (function == nullptr) {
      throw Error(
          Fault::io,
          fmt::format(
              "the library found has no {}: it is older than Muster supports (NCCL 2.18, CUDA 12)",
              name));
    }
  }

 private:
  void* handle_;
};

}  // namespace

NcclTable load_nccl(const std::vector<std::string>& names) {
  const Library library(open_library(
      names, "NCCL",
      "install it (pip install nvidia-nccl-cu13, or the package libnccl2), or train on CPU"));
  NcclTable table;
  library.needed(table.get_version, "ncclGetVersion");
  library.needed(table.get_unique_id, "ncclGetUniqueId");
  library.needed(table.init_rank_config, "ncclCommInitRankConfig");
  library.needed(table.get_async_error, "ncclCommGetAsyncError");
  library.needed(table.finalize, "ncclCommFinalize");
  library.needed(table.destroy, "ncclCommDestroy");
  library.needed(table.abort, "ncclCommAbort");
  library.needed(table.error_string, "ncclGetErrorString");
  library.needed(table.all_reduce, "ncclAllReduce");
  library.needed(table.reduce_scatter, "ncclReduceScatter");
  library.needed(table.all_gather, "ncclAllGather");
  library.needed(table.broadcast, "ncclBroadcast");
  library.needed(table.group_start, "ncclGroupStart");
  library.needed(table.group_end, "ncclGroupEnd");
  library.optional(table.split, "ncclCommSplit");
  library.optional(table.register_buffer, "ncclCommRegister");
  library.optional(table.deregister_buffer, "ncclCommDeregister");
  library.optional(table.last_error, "ncclGetLastError");
  library.optional(table.shrink, "ncclCommShrink");
  return table;
}

CudaTable load_cuda(const std::vector<std::string>& names) {
  const Library library(open_library(
      names, "the CUDA runtime", "install it (pip install nvidia-cuda-runtime), or train on CPU"));
  CudaTable table;
  library.needed(table.set_device, "cudaSetDevice");
  library.needed(table.pci_bus_id, "cudaDeviceGetPCIBusId");
  library.needed(table.stream_create, "cudaStreamCreateWithPriority");
  library.needed(table.stream_destroy, "cudaStreamDestroy");
  library.needed(table.stream_wait_event, "cudaStreamWaitEvent");
  library.needed(table.event_create, "cudaEventCreateWithFlags");
  library.needed(table.event_destroy, "cudaEventDestroy");
  library.needed(table.event_record, "cudaEventRecord");
  library.needed(table.event_query, "cudaEventQuery");
  library.needed(table.last_error, "cudaGetLastError");
  library.needed(table.priority_range, "cudaDeviceGetStreamPriorityRange");
  library.needed(table.device_count, "cudaGetDeviceCount");
  library.needed(table.allocate, "cudaMalloc");
  library.needed(table.free, "cudaFree");
  library.needed(table.copy_async, "cudaMemcpyAsync");
  library.needed(table.stream_synchronize, "cudaStreamSynchronize");
  library.needed(table.error_string, "cudaGetErrorString");
  return table;
}

}  // namespace muster::nccl
