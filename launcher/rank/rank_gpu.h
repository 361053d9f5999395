/// RankGpu: the GPU of one rank of a job, and the group of all ranks' GPUs. Made before the process
/// first uses torch. Collective.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "collectives/nccl/nccl_communicator.h"
#include "runtime/config/job.h"
#include "runtime/gpu/gpu.h"
#include "runtime/train/gpu_step.h"

namespace muster {

class RankGpu {
 public:
  /// Empty (parts().gpu null) where train.device or the machines say CPU: all ranks have a GPU, or
  /// none uses one. A GPU that cannot be had is an error where it was asked for, and where the run
  /// has trained on GPUs before (`used_gpus`): then of the machine (io), and another may have one.
  /// `control` says when another rank has given up: this one's NCCL would wait for it for ever.
  RankGpu(const TrainSettings& train, Communicator& world, RankSlot* flight,
          const ControlHeader& control, bool used_gpus = false);
  GpuParts parts();
  std::string text() const;  ///< "NVIDIA H200 at 0000:4a:00.0", or why it is the CPU
  /// Whether it is the CPU by nobody's choice, with an NVIDIA driver on some rank's machine.
  bool leaves_idle() const { return leaves_idle_; }

 private:
  std::unique_ptr<Gpu> gpu_;
  nccl::NcclTable nccl_table_;
  nccl::CudaTable cuda_table_;
  std::unique_ptr<NcclCommunicator> device_;
  std::string text_;
  bool leaves_idle_ = false;
};

}  // namespace muster
