/// check: a CUDA call's answer, as an Error that says which call it was, and on which card.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <string>

#include "runtime/base/error.h"

namespace muster::cuda {

/// "0000:4a:00.0": where the card sits, as nvidia-smi and the kernel's log call it.
inline std::string bus_of(int device) {
  std::array<char, 32> text{};
  const cudaError_t error =
      cudaDeviceGetPCIBusId(text.data(), static_cast<int>(text.size()), device);
  return error == cudaSuccess ? text.data() : "number " + std::to_string(device);
}

inline void check(cudaError_t error, const char* what, int device) {
  if (error != cudaSuccess) {
    throw Error(Fault::io, std::string(what) + ": " + cudaGetErrorString(error) + ", on GPU " +
                               bus_of(device));
  }
}

}  // namespace muster::cuda
