/// Memory of a GPU for a bench. Copies run on the compute stream, which is the default one.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "collectives/bench/bench_memory.h"
#include "collectives/nccl/nccl_table.h"

namespace muster {

/// `cuda` must outlive it. The calling thread has set `device`.
BenchMemorySource gpu_memory(const nccl::CudaTable& cuda, int device);

/// Throws Error(bad_input) where this machine has no GPU for each of its ranks.
void check_gpus(const nccl::CudaTable& cuda, int ranks);

}  // namespace muster
