// Compiled only where the header is installed: the types of nccl_table.h are those of the library.
// SPDX-License-Identifier: Apache-2.0
#include <nccl.h>

#include "collectives/nccl/nccl_table.h"
#include "collectives/nccl/nccl_words.h"

namespace muster::nccl {

static_assert(sizeof(UniqueId) == sizeof(ncclUniqueId));
static_assert(ncclSuccess == success && ncclRemoteError == remote_error &&
              ncclInProgress == in_progress);
static_assert(offsetof(ncclConfig_t, blocking) == offsetof(Config, blocking));
static_assert(offsetof(ncclConfig_t, netName) == offsetof(Config, net_name));
static_assert(offsetof(ncclConfig_t, splitShare) == offsetof(Config, split_share));
static_assert(NCCL_CONFIG_UNDEF_INT == Config::unset);
static_assert(word_of(DType::float32) == ncclFloat32 && word_of(DType::float64) == ncclFloat64);
static_assert(word_of(DType::float16) == ncclFloat16 && word_of(DType::bfloat16) == ncclBfloat16);
static_assert(word_of(DType::int32) == ncclInt32 && word_of(DType::int64) == ncclInt64 &&
              word_of(DType::uint8) == ncclUint8);
static_assert(word_of(ReduceOp::sum) == ncclSum && word_of(ReduceOp::mean) == ncclAvg);
static_assert(word_of(ReduceOp::max) == ncclMax && word_of(ReduceOp::min) == ncclMin);

}  // namespace muster::nccl
