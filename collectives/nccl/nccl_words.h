/// The numbers by which NCCL knows types and operations.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/comm/buffer.h"

namespace muster::nccl {

constexpr int word_of(DType dtype) {
  switch (dtype) {
    case DType::uint8:
      return 1;
    case DType::int32:
      return 2;
    case DType::int64:
      return 4;
    case DType::float16:
      return 6;
    case DType::float32:
      return 7;
    case DType::float64:
      return 8;
    case DType::bfloat16:
      return 9;
  }
  return -1;
}

constexpr int word_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::sum:
      return 0;
    case ReduceOp::max:
      return 2;
    case ReduceOp::min:
      return 3;
    case ReduceOp::mean:
      return 4;
  }
  return -1;
}

}  // namespace muster::nccl
