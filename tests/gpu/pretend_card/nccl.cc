// NCCL for processes that pretend: ranks meet in shared memory, and every collective passes through
// it in parts, added up in the order of the ranks. Queued and captured as NCCL's kernels are.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <nccl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "collectives/reduce/reduce.h"
#include "tests/gpu/pretend_card/card.h"

namespace {

using muster::DType;
using muster::ReduceOp;
using muster::pretend::card;

constexpr std::size_t slot_bytes = std::size_t{1} << 20;
constexpr int most_ranks = 16;

/// What the ranks share.
struct Meeting {
  std::atomic<int> arrived;
  std::atomic<int> round;
  std::atomic<bool> is_aborted;
  alignas(64) char slots[most_ranks][slot_bytes];  // NOLINT(modernize-avoid-c-arrays): shared
};

DType type_of(ncclDataType_t type) {
  switch (type) {
    case ncclFloat16:
      return DType::float16;
    case ncclBfloat16:
      return DType::bfloat16;
    case ncclFloat64:
      return DType::float64;
    case ncclInt32:
      return DType::int32;
    case ncclInt64:
      return DType::int64;
    case ncclUint8:
      return DType::uint8;
    default:
      return DType::float32;
  }
}

ReduceOp operation_of(ncclRedOp_t op) {
  return op == ncclMax   ? ReduceOp::max
         : op == ncclMin ? ReduceOp::min
         : op == ncclAvg ? ReduceOp::mean
                         : ReduceOp::sum;
}

}  // namespace

struct ncclComm {
  ~ncclComm() { ::munmap(meeting, sizeof(Meeting)); }

  Meeting* meeting = nullptr;
  int ranks = 0;
  int rank = 0;

  /// False where a rank has given up.
  bool meet() const {
    const int round = meeting->round;
    if (++meeting->arrived == ranks) {
      meeting->arrived = 0;
      ++meeting->round;
    }
    while (meeting->round == round && !meeting->is_aborted) {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    return !meeting->is_aborted;
  }
  /// Shows `bytes` of every rank to every rank, a slot's worth at a time.
  void exchange(const void* own, std::size_t bytes,
                const std::function<void(std::size_t at, std::size_t count)>& use) const {
    for (std::size_t at = 0; at < bytes; at += slot_bytes) {
      const std::size_t count = std::min(slot_bytes, bytes - at);
      std::memcpy(meeting->slots[rank], static_cast<const char*>(own) + at, count);
      if (!meet()) {
        return;
      }
      use(at, count);
      if (!meet()) {
        return;
      }
    }
  }
  void all_reduce(const void* in, void* out, std::size_t count, DType type, ReduceOp op) const {
    exchange(in, count * size_of(type), [&](std::size_t at, std::size_t bytes) {
      std::vector<const void*> sources;
      for (int other = 0; other < ranks; ++other) {
        sources.push_back(meeting->slots[other]);
      }
      void* const to = static_cast<char*>(out) + at;
      muster::reduce(type, type, op, sources, {&to, 1}, bytes / size_of(type), ranks);
    });
  }
};

namespace {

/// Communicators by their handles. What is queued holds its own, which may be gone by then.
struct Communicators {
  std::mutex mutex;
  std::map<ncclComm*, std::shared_ptr<ncclComm>> of;
};
Communicators& communicators() {
  static auto* all = new Communicators;  // NOLINT(cppcoreguidelines-owning-memory): outlives queues
  return *all;
}

using Operation = std::function<void(const ncclComm& comm)>;

ncclResult_t queue(const char* what, ncclComm_t handle, cudaStream_t stream, Operation operation) {
  Communicators& all = communicators();
  const std::lock_guard lock(all.mutex);
  const auto found = all.of.find(handle);
  if (found == all.of.end()) {
    card().fault(cudaErrorInvalidValue, std::string(what) + " of a communicator that is gone");
    return ncclInvalidArgument;
  }
  const auto work = [comm = found->second, operation = std::move(operation)] { operation(*comm); };
  return card().add(stream, what, work) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError;
}

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = 22809;
  return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t /*result*/) {
  return "an error of the pretended NCCL";
}
const char* ncclGetLastError(ncclComm_t /*comm*/) {
  return "";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static int number = 0;
  const std::string name =
      "/pretended-nccl-" + std::to_string(::getpid()) + "-" + std::to_string(number++);
  const int file = ::shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);
  if (file < 0 || ::ftruncate(file, sizeof(Meeting)) != 0) {
    return ncclSystemError;
  }
  ::close(file);
  *id = {};
  std::strncpy(id->internal, name.c_str(), sizeof id->internal - 1);
  return ncclSuccess;
}
ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* /*config*/) {
  const int file = ::shm_open(id.internal, O_RDWR, 0600);
  if (file < 0 || ranks > most_ranks) {
    return ncclSystemError;
  }
  void* shared = ::mmap(nullptr, sizeof(Meeting), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  auto own = std::make_unique<ncclComm>();
  own->meeting = static_cast<Meeting*>(shared);
  own->ranks = ranks;
  own->rank = rank;
  own->meet();
  if (rank == 0) {
    ::shm_unlink(id.internal);
  }
  *comm = own.get();
  Communicators& all = communicators();
  const std::lock_guard lock(all.mutex);
  all.of.emplace(own.get(), std::move(own));
  return ncclSuccess;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  *state = comm->meeting->is_aborted ? ncclRemoteError : ncclSuccess;
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t /*comm*/) {
  return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  Communicators& all = communicators();
  const std::lock_guard lock(all.mutex);
  return all.of.erase(comm) == 1 ? ncclSuccess : ncclInvalidArgument;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm->meeting->is_aborted = true;
  return ncclCommDestroy(comm);
}
ncclResult_t ncclGroupStart() {
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void* in, void* out, std::size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return queue("ncclAllReduce", comm, stream, [=](const ncclComm& ranks) {
    ranks.all_reduce(in, out, count, type_of(type), operation_of(op));
  });
}
ncclResult_t ncclReduceScatter(const void* in, void* out, std::size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  return queue("ncclReduceScatter", comm, stream, [=](const ncclComm& ranks) {
    const std::size_t bytes = count * size_of(type_of(type));
    const auto all_ranks = static_cast<std::size_t>(ranks.ranks);
    std::vector<char> all(bytes * all_ranks);
    ranks.all_reduce(in, all.data(), count * all_ranks, type_of(type), operation_of(op));
    std::memcpy(out, all.data() + bytes * static_cast<std::size_t>(ranks.rank), bytes);
  });
}
ncclResult_t ncclAllGather(const void* in, void* out, std::size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  return queue("ncclAllGather", comm, stream, [=](const ncclComm& ranks) {
    const std::size_t bytes = count * size_of(type_of(type));
    ranks.exchange(in, bytes, [&](std::size_t at, std::size_t part) {
      for (int rank = 0; rank < ranks.ranks; ++rank) {
        std::memcpy(static_cast<char*>(out) + static_cast<std::size_t>(rank) * bytes + at,
                    ranks.meeting->slots[rank], part);
      }
    });
  });
}
ncclResult_t ncclBroadcast(const void* in, void* out, std::size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream) {
  return queue("ncclBroadcast", comm, stream, [=](const ncclComm& ranks) {
    ranks.exchange(in, count * size_of(type_of(type)), [&](std::size_t at, std::size_t part) {
      std::memcpy(static_cast<char*>(out) + at, ranks.meeting->slots[root], part);
    });
  });
}

}  // extern "C"
