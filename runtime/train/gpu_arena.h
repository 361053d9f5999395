/// GpuArena: a model's parameters in one flat allocation on the GPU, the optimiser's state (of this
/// rank's ranges) and the gradients in two more. The model's tensors become views. Collective to
/// make: every rank has rank 0's values.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/gpu/gpu.h"
#include "runtime/model/model.h"
#include "runtime/train/gpu_layout.h"

namespace muster {

/// torch's name for where `gpu` makes tensors.
c10::Device torch_device(const Gpu& gpu);
at::ScalarType torch_type(DType type);
/// Its values, of which each element of memory is one.
at::Tensor dense(const at::Tensor& tensor);
/// Memory of `gpu` as a tensor that keeps it.
at::Tensor tensor_on(const Gpu& gpu, const std::shared_ptr<std::byte>& memory, void* data,
                     at::IntArrayRef sizes, at::IntArrayRef strides, DType type);

class GpuArena {
 public:
  struct Shape {
    std::size_t ranks = 1;
    std::size_t rank = 0;
    std::size_t state_slots = 0;
    DType wire = DType::float32;  ///< what gradients are while they are exchanged
    std::size_t bucket_bytes = 0;
    bool is_sharded = false;   ///< ZeRO-1
    bool accumulates = false;  ///< several parts a step, summed in float32
  };
  /// `parameters` in the order in which gradients arrive, each tensor once. `device` broadcasts;
  /// null for one rank.
  GpuArena(Gpu& gpu, std::span<const NamedTensor> parameters, const Shape& shape,
           const GroupRules& rules, Communicator* device);

  const SegmentTable& table() const { return table_; }
  BucketPlan& plan() { return *plan_; }
  std::span<const at::Tensor> tensors() const { return tensors_; }
  const Shape& shape() const { return shape_; }
  const std::vector<Range>& own() const { return own_; }
  std::size_t own_count() const;
  float* parameters() { return reinterpret_cast<float*>(parameters_.get()); }
  float* state(std::size_t slot);
  void* gradients() { return gradients_.get(); }
  float* sums() { return reinterpret_cast<float*>(sums_.get()); }  ///< null unless it accumulates
  const Chunk* chunks() const { return reinterpret_cast<const Chunk*>(chunks_.get()); }
  std::size_t chunk_count() const { return chunk_count_; }
  std::uint64_t bytes() const;
  /// Runs `body` with the model's tensors lying on the host, as files are written from there.
  /// `slot`: a slot of state to use instead of the parameters, or none.
  void on_host(Gpu& gpu, std::span<const NamedTensor> buffers, const float* values,
               const std::function<void()>& body);
  /// Makes the tensors views of `base`, laid out as the parameters.
  void point_at(const Gpu& gpu, float* base, const std::shared_ptr<std::byte>& keep);
  void point_home(const Gpu& gpu) { point_at(gpu, parameters(), parameters_); }
  const std::shared_ptr<std::byte>& state_memory() const { return state_; }

 private:
  void fill(Gpu& gpu);
  void put_chunks(Gpu& gpu);

  Shape shape_;
  SegmentTable table_;
  std::vector<at::Tensor> tensors_;
  std::unique_ptr<BucketPlan> plan_;
  std::vector<Range> own_;
  std::shared_ptr<std::byte> parameters_;
  std::shared_ptr<std::byte> state_;
  std::shared_ptr<std::byte> gradients_;
  std::shared_ptr<std::byte> sums_;
  std::shared_ptr<std::byte> chunks_;
  std::size_t chunk_count_ = 0;
};

}  // namespace muster
