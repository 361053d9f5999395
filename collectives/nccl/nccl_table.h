/// NcclTable and CudaTable: the functions of NCCL and of the CUDA runtime that Muster uses, as
/// tables filled at run time, so that one program runs with and without a GPU, and a test can put
/// its own there. Types mirror the libraries' binary interface, which abi_check.cc compares with
/// their headers where those are installed; nothing else of Muster needs the headers.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <climits>
#include <cstddef>
#include <string>
#include <vector>

namespace muster::nccl {

using Result = int;  ///< ncclResult_t
inline constexpr Result success = 0;
inline constexpr Result remote_error = 6;
inline constexpr Result in_progress = 7;

using Comm = struct OpaqueComm*;
using Stream = struct OpaqueStream*;
using Event = struct OpaqueEvent*;
struct UniqueId {
  std::array<char, 128> bytes{};
};

/// ncclConfig_t as it was in 2.18, the oldest version supported: newer libraries take it and use
/// their defaults for the rest.
struct Config {
  static constexpr int oldest_version = 21800;
  static constexpr int unset = INT_MIN;
  std::size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = oldest_version;
  int blocking = unset;
  int cga_cluster_size = unset;
  int min_ctas = unset;
  int max_ctas = unset;
  const char* net_name = nullptr;
  int split_share = unset;
};

struct NcclTable {
  Result (*get_version)(int* version) = nullptr;
  Result (*get_unique_id)(UniqueId* id) = nullptr;
  Result (*init_rank_config)(Comm* comm, int ranks, UniqueId id, int rank,
                             Config* config) = nullptr;
  Result (*get_async_error)(Comm comm, Result* error) = nullptr;
  Result (*finalize)(Comm comm) = nullptr;
  Result (*destroy)(Comm comm) = nullptr;
  Result (*abort)(Comm comm) = nullptr;
  const char* (*error_string)(Result result) = nullptr;
  Result (*all_reduce)(const void* in, void* out, std::size_t count, int dtype, int op, Comm comm,
                       Stream stream) = nullptr;
  Result (*reduce_scatter)(const void* in, void* out, std::size_t out_count, int dtype, int op,
                           Comm comm, Stream stream) = nullptr;
  Result (*all_gather)(const void* in, void* out, std::size_t in_count, int dtype, Comm comm,
                       Stream stream) = nullptr;
  Result (*broadcast)(const void* in, void* out, std::size_t count, int dtype, int root, Comm comm,
                      Stream stream) = nullptr;
  Result (*group_start)() = nullptr;
  Result (*group_end)() = nullptr;
  // Newer than some libraries: null where they are missing.
  Result (*split)(Comm comm, int colour, int key, Comm* part, Config* config) = nullptr;  // 2.18
  Result (*register_buffer)(Comm comm, void* data, std::size_t bytes,
                            void** handle) = nullptr;              // 2.19
  Result (*deregister_buffer)(Comm comm, void* handle) = nullptr;  // 2.19
  const char* (*last_error)(Comm comm) = nullptr;                  ///< of the process; 2.13
  Result (*shrink)(Comm comm, int* excluded, int count, Comm* rest, Config* config,
                   int flags) = nullptr;  // 2.27
};

struct CudaTable {
  int (*set_device)(int device) = nullptr;
  int (*pci_bus_id)(char* text, int length, int device) = nullptr;
  int (*stream_create)(Stream* stream, unsigned flags, int priority) = nullptr;
  int (*stream_destroy)(Stream stream) = nullptr;
  int (*stream_wait_event)(Stream stream, Event event, unsigned flags) = nullptr;
  int (*event_create)(Event* event, unsigned flags) = nullptr;
  int (*event_destroy)(Event event) = nullptr;
  int (*event_record)(Event event, Stream stream) = nullptr;
  int (*event_query)(Event event) = nullptr;  ///< 0 done, 600 not yet
  int (*last_error)() = nullptr;              ///< and forgets it
  int (*priority_range)(int* least, int* greatest) = nullptr;
  int (*device_count)(int* count) = nullptr;
  int (*allocate)(void** data, std::size_t bytes) = nullptr;
  int (*free)(void* data) = nullptr;
  int (*copy_async)(void* to, const void* from, std::size_t bytes, int direction,
                    Stream stream) = nullptr;
  int (*stream_synchronize)(Stream stream) = nullptr;
  const char* (*error_string)(int error) = nullptr;

  /// CUDA remembers "not yet" as this thread's last error, which who launches next would take for
  /// the launch's.
  bool is_over(Event event) const {
    const int state = event_query(event);
    if (state == not_ready) {
      last_error();
    }
    return state == 0;
  }
  static constexpr int not_ready = 600;
};

/// The library that this process has loaded already (libtorch's own) before any other of the names.
/// Throws Error(io) saying how to get it. Tables are valid for the life of the process.
NcclTable load_nccl(const std::vector<std::string>& names = {"libnccl.so.2", "libnccl.so"});
CudaTable load_cuda(const std::vector<std::string>& names = {"libcudart.so.13", "libcudart.so.12",
                                                             "libcudart.so"});

}  // namespace muster::nccl
