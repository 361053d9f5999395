/// GpuProgram: what one training step queues on a GPU, from the samples to the update. It looks at
/// nothing that varies from step to step, so that what it queues can be captured: step, scale and
/// rate lie on the GPU, shapes are arguments.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/model/gpu_ops.h"
#include "runtime/train/gpu_arena.h"
#include "runtime/train/gpu_buffers.h"
#include "runtime/train/gpu_step.h"

namespace muster {

class GpuProgram {
 public:
  static constexpr std::uint64_t result_count = 256;
  /// Moves the model to the GPU, sees in which order its gradients arrive (rank 0's order holds),
  /// and lays the arena out in it. Collective.
  GpuProgram(Model& model, const Loss& loss, GpuInput& input, const GpuParts& parts,
             Communicator& world, const GpuStep::Options& options);
  ~GpuProgram();
  GpuProgram(const GpuProgram&) = delete;
  GpuProgram& operator=(const GpuProgram&) = delete;

  /// Before step() sees a batch of `whole` samples the first time.
  void prepare(std::uint64_t whole);
  /// Before steps [first, first + steps) are queued; outside of graphs.
  void bring_rates(std::uint64_t first, std::uint64_t steps);
  /// Queues one step with `own` of `whole` samples.
  void step(std::uint64_t own, std::uint64_t whole);
  /// After step() threw: nothing of it is left that the next one would add to.
  void forget_step();

  at::Tensor forward(const at::Tensor& features, bool training, std::uint64_t part = 0);
  GpuArena& arena() { return *arena_; }
  GpuBuffers& buffers() { return buffers_; }
  const StepResult& result(std::uint64_t step) const { return results()[step % result_count]; }
  void put_state(const StepState& state);
  StepState get_state();

 private:
  struct Hook;
  static constexpr std::uint64_t rates_a_piece = 2048;
  void move_parameters();
  std::vector<std::size_t> observe(const std::vector<NamedTensor>& parameters);
  std::vector<NamedTensor> in_agreed_order();
  void watch_gradients();
  void arrived(std::size_t segment);
  void send(std::size_t bucket);
  PackPiece piece(std::size_t segment, Range range);
  PackJob pack_of(std::span<const PackPiece> pieces) const;
  void run_part(SampleRange part, std::uint64_t whole, std::uint64_t number);
  void start_backward(const at::Tensor& outputs, SampleRange part, std::uint64_t whole,
                      std::uint64_t number);
  void sum_part(bool is_first);
  void drop_gradients();
  void end_backward();
  void wait_for_works();
  void update(std::uint64_t own, std::uint64_t whole);
  void agree_on_notes();
  void bring_shards_together();
  at::Tensor seed_of(std::uint64_t whole);
  std::uint64_t loss_count(std::uint64_t samples) const;
  StepState* state() const { return reinterpret_cast<StepState*>(state_.get()); }
  StepNotes* notes() const { return reinterpret_cast<StepNotes*>(notes_.get()); }
  StepResult* results() const { return reinterpret_cast<StepResult*>(results_.get()); }

  Model& model_;
  Loss loss_;
  GpuInput& input_;
  GpuParts parts_;
  Gpu& gpu_;
  Communicator& world_;
  const GpuStep::Options& options_;
  std::shared_ptr<std::byte> state_;
  std::shared_ptr<std::byte> notes_;
  std::shared_ptr<std::byte> results_;
  std::shared_ptr<std::byte> rates_;          // of two pieces of the run
  std::shared_ptr<std::byte> rates_to_copy_;  // the same, pinned
  std::array<std::optional<std::uint64_t>, 2> pieces_there_;
  std::shared_ptr<std::byte> losses_memory_;
  std::shared_ptr<std::byte> partial_;
  std::shared_ptr<std::byte> arrived_;
  at::Tensor losses_;
  at::Tensor scale_;  // the loss scale, as a tensor
  std::map<std::uint64_t, at::Tensor> seeds_;
  std::unique_ptr<GpuArena> arena_;
  GpuBuffers buffers_;
  std::vector<std::size_t> seen_;  // segments, while the order is observed
  bool observes_ = false;
  bool exchanges_ = false;  // this part's gradients are the last
  bool adds_ = false;       // to the sums of earlier parts
  std::vector<Work> works_;
  std::vector<at::Tensor> kept_;        // copies of gradients that lay otherwise
  std::vector<PackPiece> last_pieces_;  // all gradients, where nobody waits for them packed
};

}  // namespace muster
