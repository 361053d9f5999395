/// check: a CUDA call's answer, as an Error that says which call it was.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "runtime/base/error.h"

namespace muster::cuda {

inline void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw Error(Fault::io, std::string(what) + ": " + cudaGetErrorString(error));
  }
}

}  // namespace muster::cuda
