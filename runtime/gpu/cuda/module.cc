// SPDX-License-Identifier: Apache-2.0
#include <ATen/Context.h>
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <cstdlib>

#include "runtime/base/error.h"
#include "runtime/gpu/cuda/cuda_gpu.h"
#include "runtime/gpu/open_gpus.h"

namespace muster::cuda {
namespace {

class CudaGpus final : public Gpus {
 public:
  explicit CudaGpus(int count) : count_(count) {}
  int count() const override { return count_; }
  std::unique_ptr<Gpu> lane(int index) override {
    require(index >= 0 && index < count_, "a GPU that this process can see");
    return std::make_unique<CudaGpu>(index);
  }

 private:
  int count_;
};

}  // namespace
}  // namespace muster::cuda

/// The module's one function.
extern "C" __attribute__((visibility("default"))) muster::Gpus* muster_gpus(int version,
                                                                            std::string* why) {
  if (version != muster::gpu_interface_version) {
    *why = fmt::format("libmuster_cuda.so is of another build (interface {}, wanted {})",
                       muster::gpu_interface_version, version);
    return nullptr;
  }
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    *why = fmt::format("CUDA finds no GPU ({})",
                       error == cudaSuccess ? "none is visible" : cudaGetErrorString(error));
    return nullptr;
  }
  if (!at::hasCUDA()) {
    *why = "libtorch was used before its GPU half was opened";
    return nullptr;
  }
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  static muster::cuda::CudaGpus gpus(count);
  return &gpus;
}
