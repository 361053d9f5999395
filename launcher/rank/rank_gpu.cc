// SPDX-License-Identifier: Apache-2.0
#include "launcher/rank/rank_gpu.h"

#include <ATen/Context.h>
#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/gpu/open_gpus.h"

namespace muster {
namespace {

/// Do all ranks say so?
bool all_agree(Communicator& world, bool own) {
  std::int32_t says = own ? 1 : 0;
  world.all_reduce(buffer_of(&says, 1), ReduceOp::min).wait();
  return says != 0;
}

}  // namespace

RankGpu::RankGpu(const TrainSettings& train, Communicator& world, RankSlot* flight,
                 const ControlHeader& control) {
  Gpus* gpus = train.device == "cpu" ? nullptr : open_gpus(train.device, text_);
  if (!all_agree(world, gpus != nullptr)) {
    if (train.device == "cuda") {
      throw Error(Fault::bad_input, "train.device = cuda, but not every rank's machine has a GPU");
    }
    return;
  }
  const int index = world.local_rank() % gpus->count();
  gpu_ = gpus->lane(index);
  text_ = gpu_->name();
  at::globalContext().setBenchmarkCuDNN(true);  // shapes are few, and steps are many
  if (world.size() == 1) {
    return;
  }
  nccl_table_ = nccl::load_nccl();
  cuda_table_ = nccl::load_cuda();
  device_ = std::make_unique<NcclCommunicator>(
      nccl_table_, cuda_table_, world,
      NcclOptions{.device = index,
                  .compute = static_cast<nccl::Stream>(gpu_->stream(Gpu::Queue::compute)),
                  .trouble_elsewhere =
                      [&control] {
                        return control.aborted.load(std::memory_order_acquire) == 0
                                   ? std::string()
                                   : std::string(control.abort_reason.data());
                      }},
      flight);
}

GpuParts RankGpu::parts() {
  GpuParts parts{.gpu = gpu_.get(), .device = device_.get()};
  if (device_) {
    parts.capturing = [this](bool is_on) { device_->capture(is_on); };
  }
  return parts;
}

std::string RankGpu::text() const {
  return text_;
}

}  // namespace muster
