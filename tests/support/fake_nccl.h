/// A fake NCCL and CUDA behind the real tables: ranks are threads, memory is the host's. An
/// operation is over when all ranks have called it, as in the real one; streams and events know
/// what they wait for. It records every call and can be told to misbehave. One at a time a process;
/// made before the ranks, ended after them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "collectives/nccl/nccl_table.h"

namespace muster::test {

struct FakeCall {
  enum class Kind { operation, record, wait, lifecycle };
  Kind kind = Kind::operation;
  std::string text;               ///< "all_reduce 100 float32(7) op 0"
  nccl::Event event = nullptr;    ///< of record and wait
  nccl::Stream stream = nullptr;  ///< null: the compute stream
};
using FakeTrace = std::vector<FakeCall>;

struct FakeFaults {
  int hang_from_operation =
      0;  ///< this one and later ones are never over; 0: none. Counted over each rank's operations
  int fail_operation = 0;               ///< this one returns an internal error
  int remote_error_from_operation = 0;  ///< from here on the communicator reports a remote error
  bool never_connects = false;
  bool never_finalises = false;
  bool one_gpu_for_all = false;
  bool calls_stay_in_progress =
      false;  ///< operations return "in progress" first, as non-blocking communicators may
  bool calls_never_settle = false;      ///< operations stay "in progress"
  bool graphs_hold_operations = false;  ///< until drop_graphs()
};

class FakeNccl {
 public:
  explicit FakeNccl(FakeFaults faults = {});
  ~FakeNccl();
  FakeNccl(const FakeNccl&) = delete;
  FakeNccl& operator=(const FakeNccl&) = delete;

  static nccl::NcclTable nccl_table();
  static nccl::CudaTable cuda_table();
  /// Records the calls of this thread.
  static void trace_into(FakeTrace* trace);
  /// Blocks until what the compute stream of this thread waits for is over.
  static void synchronise();
  /// Of operations that graphs hold: an abort returns when they are gone.
  static void drop_graphs();
  int aborts() const;
  int intrusions() const;  ///< of a thread that asked after another one's call in progress
  int finalises() const;
  int late_questions() const;  ///< about a communicator that was aborted, which NCCL has freed
};

}  // namespace muster::test
