// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_step.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/train/gpu_step_impl.h"
#include "runtime/train/train_state.h"

namespace muster {
GpuStep::Impl::Impl(Model& trained, const Dataset& data, const Loss& loss,
                    const GpuParts& gpu_parts, Communicator& ranks, const Options& wanted,
                    std::function<void(const std::string&)> say)
    : options(wanted),
      model(trained),
      parts(gpu_parts),
      world(ranks),
      remark(std::move(say)),
      input(make_input(data)),
      scope(parts.gpu->enter()),
      program(trained, loss, *input, parts, world, options),
      mover(*parts.gpu) {}

/// Resident on all ranks or on none: those that were would queue blocks of steps, and the others
/// one by one.
std::unique_ptr<GpuInput> GpuStep::Impl::make_input(const Dataset& data) {
  const GpuInput::Options how{.batch = options.batch,
                              .seed = options.seed,
                              .drop_last = options.drop_last,
                              .prefetch = options.prefetch,
                              .rank = static_cast<std::uint64_t>(world.rank()),
                              .ranks = static_cast<std::uint64_t>(world.size()),
                              .crop_padding = options.crop_padding,
                              .flips = options.flips};
  ResidentSets& sets = parts.residents != nullptr ? *parts.residents : own_sets;
  const auto there = sets.find(data, *parts.gpu);  // then it takes no room, however little is free
  if (!all_have(there != nullptr || may_reside(data, *parts.gpu))) {
    return streamed_input(data, *parts.gpu, how);
  }
  return resident_input(data, *parts.gpu, sets, how);
}

void GpuStep::Impl::average_buffers() {
  if (parts.device == nullptr || !model.has_batch_norm()) {
    return;
  }
  const double share = static_cast<double>(input->own_part({0, options.batch}).count) /
                       static_cast<double>(options.batch);  // a rank without samples has no say
  for (const NamedTensor& buffer : model.buffers()) {
    if (buffer.tensor.scalar_type() == at::kFloat && buffer.tensor.numel() > 0) {
      buffer.tensor.mul_(share);
      parts.device
          ->all_reduce({.data = buffer.tensor.mutable_data_ptr(),
                        .count = static_cast<std::size_t>(buffer.tensor.numel()),
                        .device = parts.gpu->device()},
                       ReduceOp::sum)
          .wait();
    }
  }
  program.buffers().keep();
}

GpuStep::GpuStep(Model& model, const Dataset& data, const Loss& loss, const GpuParts& parts,
                 Communicator& world, const Options& options,
                 std::function<void(const std::string&)> remark)
    : impl_(std::make_unique<Impl>(model, data, loss, parts, world, options, std::move(remark))) {
  impl_->scope.reset();  // whoever calls later may be another thread
  seek(0, 0);
}

GpuStep::~GpuStep() {
  try {
    impl_->parts.gpu->synchronise();
  } catch (const std::exception& error) {
    log::error(fmt::format("leaving a GPU: {}", report(error)));
  }
}

GpuStep::Outcome GpuStep::step(std::uint64_t room, Wishes own) {
  Impl& impl = *impl_;
  impl.asked.stop = impl.asked.stop || own.stop;
  impl.asked.checkpoint = impl.asked.checkpoint || own.checkpoint;
  Outcome outcome;
  if (impl.ahead > 0) {  // queued with its block: neither the lane nor the driver is asked
    --impl.ahead;
    ++impl.next;
  } else {
    const auto scope = impl.parts.gpu->enter();
    impl.agree(std::exchange(impl.asked, {}));
    const std::uint64_t steps = impl.block_length(std::max<std::uint64_t>(room, 1));
    impl.queue(steps);
    impl.ahead = steps - 1;
    ++impl.next;
    impl.collect(false);
    outcome.finished = impl.take();
  }
  outcome.is_boundary = impl.ahead == 0;
  if (outcome.is_boundary) {
    outcome.agreed = impl.agreed;
    // One that was asked for meanwhile is the one that follows now.
    impl.asked.checkpoint = impl.asked.checkpoint && !impl.agreed.checkpoint;
  }
  return outcome;
}

std::vector<GpuStep::Finished> GpuStep::drain() {
  impl_->collect(true);
  return impl_->take();
}

void GpuStep::seek(std::uint64_t step, std::uint64_t updates) {
  Impl& impl = *impl_;
  const auto scope = impl.parts.gpu->enter();
  impl.collect(true);
  impl.finished.clear();
  StepState state = impl.program.get_state();
  const bool is_new = step == 0;
  state.step = step;
  state.updates = updates;
  if (is_new) {
    impl.kept_scale = impl.options.amp == DType::float16 ? impl.options.loss_scale : 1;
    impl.kept_good_steps = 0;
  }
  state.loss_scale = static_cast<float>(impl.kept_scale);
  state.good_steps = static_cast<std::uint32_t>(impl.kept_good_steps);
  impl.program.put_state(state);
  impl.program.buffers().keep();
  impl.next = step;
  impl.ahead = 0;
  impl.input->seek(impl.position(step));
}

void GpuStep::keep() {
  const auto scope = impl_->parts.gpu->enter();
  impl_->average_buffers();
  if (impl_->options.amp == DType::float16) {
    const StepState state = impl_->program.get_state();
    impl_->kept_scale = state.loss_scale;
    impl_->kept_good_steps = state.good_steps;
  }
}

Mover& GpuStep::mover() {
  return impl_->mover;
}

void GpuStep::add_to(StateTree& tree) {
  add_gpu_tensors(tree, impl_->program.arena(), impl_->options.rule, impl_->model,
                  impl_->parts.gpu->device());
  if (impl_->options.amp == DType::float16) {
    tree.record("loss_scale", &impl_->kept_scale);
    tree.record("good_steps", &impl_->kept_good_steps);
  }
}

void GpuStep::restored() {
  impl_->parts.gpu->synchronise();
}

void GpuStep::evaluate(
    const at::Tensor& features, const at::Tensor& labels,
    const std::function<void(const at::Tensor& outputs, const at::Tensor& labels)>& look) {
  Gpu& gpu = *impl_->parts.gpu;
  const auto scope = gpu.enter();
  const at::NoGradGuard none;
  const at::Tensor there = features.to(torch_device(gpu));
  const at::Tensor wanted = labels.to(torch_device(gpu));
  at::Tensor outputs;
  gpu.warm([&] { outputs = impl_->program.forward(there, false); });
  const auto scratch = gpu.scratch();
  look(outputs, wanted);  // waits, which other lanes need not
}

void GpuStep::with_average(const std::function<void()>& body) {
  Impl& impl = *impl_;
  if (impl.options.rule.ema == 0) {
    body();
    return;
  }
  GpuArena& arena = impl.program.arena();
  arena.point_at(*impl.parts.gpu, arena.state(impl.options.rule.slot_names().size() - 1),
                 arena.state_memory());
  body();
  arena.point_home(*impl.parts.gpu);
}

void GpuStep::on_host(const std::function<void()>& body) {
  Impl& impl = *impl_;
  GpuArena& arena = impl.program.arena();
  const float* values = impl.options.rule.ema > 0
                            ? arena.state(impl.options.rule.slot_names().size() - 1)
                            : arena.parameters();
  arena.on_host(*impl.parts.gpu, impl.model.buffers(), values, body);
}

std::uint64_t GpuStep::memory_bytes() const {
  return std::max(impl_->parts.gpu->lane_bytes(), impl_->program.arena().bytes());
}

std::string GpuStep::mode() const {
  if (impl_->options.graph == GraphMode::off) {
    return "eager (train.graph = off)";
  }
  if (!impl_->why_eager.empty()) {
    return "eager (" + impl_->why_eager + ")";
  }
  return impl_->has_played_many ? fmt::format("graph of {} steps", impl_->options.steps_a_graph)
                                : "graph of one step";
}

}  // namespace muster
