/// Arena: a model's parameters in one flat allocation that all ranks of a machine share, the
/// optimiser's state in another. The tensors become views of it, strides kept (channels-last too).
/// They stay valid when the arena is gone: views keep the memory. Collective to make. A rank writes
/// only its own shard, and only between the barriers of a step.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <span>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/comm/node_group.h"
#include "runtime/model/model.h"
#include "runtime/train/segments.h"

namespace muster {

class Arena {
 public:
  struct Shape {
    std::size_t parts = 1;  ///< shards: one for each rank of the job
    std::size_t alignment = SegmentTable::line;
    std::size_t state_slots = 0;  ///< floats of state for each parameter
  };
  /// Takes each distinct float32 tensor once (tied parameters share a segment) and keeps the values
  /// of local rank 0 of node 0, which `across` (the equal local ranks of all machines) brings to
  /// the others.
  Arena(std::span<const NamedTensor> parameters, NodeGroup& node, Communicator& across,
        const Shape& shape);

  SegmentTable& table() { return table_; }
  const SegmentTable& table() const { return table_; }
  /// One for each segment, in its order.
  std::span<const at::Tensor> tensors() const { return tensors_; }
  std::span<float> parameters();
  std::span<float> state(std::size_t slot);
  std::size_t state_slots() const { return state_slots_; }
  /// Makes the tensors views of `base` (parameters(), or a slot of state laid out like it).
  void point_at(std::span<float> base);

 private:
  void place(std::size_t index, float* base, const std::shared_ptr<SharedMemory>& keep);

  SegmentTable table_;
  std::vector<at::Tensor> tensors_;
  std::size_t state_slots_;
  std::shared_ptr<SharedMemory> parameter_memory_;
  std::shared_ptr<SharedMemory> state_memory_;
};

}  // namespace muster
