// SPDX-License-Identifier: Apache-2.0
#include "launcher/rank/rank_gpu.h"

#include <ATen/Context.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "launcher/engine/owner_lock.h"
#include "runtime/base/error.h"
#include "runtime/gpu/open_gpus.h"

namespace muster {
namespace {

/// Null with the reason in `why` where the run does without.
Gpus* own_gpus(const std::string& device, bool used_gpus, std::string& why) {
  if (!used_gpus || device == "cpu") {
    return open_gpus(device, why);
  }
  Gpus* gpus = open_gpus("auto", why);
  if (gpus == nullptr) {
    throw Error(Fault::io, fmt::format("this run has trained on GPUs, and {} has none for it now: "
                                       "{}; --train.device=cpu goes on without a GPU",
                                       this_host(), why));
  }
  return gpus;
}

/// Which rank has no GPU, and why: the lowest one's words, told to all. Empty where all have one.
std::string who_lacks(Communicator& world, bool has, const std::string& why) {
  std::int32_t rank = has ? world.size() : world.rank();
  world.all_reduce(buffer_of(&rank, 1), ReduceOp::min).wait();
  if (rank == world.size()) {
    return "";
  }
  if (world.size() == 1) {
    return why;
  }
  std::array<std::uint8_t, 512> words{};
  if (rank == world.rank()) {
    const auto text = fmt::format("rank {} on {} has no GPU: {}", rank, this_host(), why);
    std::ranges::copy(text.substr(0, words.size() - 1), words.begin());
  }
  world.broadcast(buffer_of(words.data(), words.size()), rank).wait();
  return reinterpret_cast<const char*>(words.data());
}

}  // namespace

RankGpu::RankGpu(const TrainSettings& train, Communicator& world, RankSlot* flight,
                 const ControlHeader& control, bool used_gpus) {
  std::string why;
  Gpus* gpus = own_gpus(train.device, used_gpus, why);
  text_ = who_lacks(world, gpus != nullptr, why);
  if (!text_.empty()) {
    std::int32_t drivers = has_gpu_driver() ? 1 : 0;
    world.all_reduce(buffer_of(&drivers, 1), ReduceOp::max).wait();
    leaves_idle_ = drivers > 0 && train.device == "auto";
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
                      },
                  .had_own = used_gpus},
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
