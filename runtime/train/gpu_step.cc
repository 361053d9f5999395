// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_step.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/random.h"
#include "runtime/train/gpu_mover.h"
#include "runtime/train/gpu_program.h"
#include "runtime/train/train_state.h"

namespace muster {
namespace {

constexpr std::uint64_t warm_ups = 2;         // steps of a shape before it is captured
constexpr std::size_t most_blocks_ahead = 2;  // the host before the GPU

/// A step's shape, which is what a graph is made for.
struct StepShape {
  std::uint64_t own = 0;
  std::uint64_t whole = 0;
  std::uint64_t steps = 1;
  auto operator<=>(const StepShape&) const = default;
};

struct Captured {
  std::uint64_t runs = 0;
  std::unique_ptr<GpuGraph> graph;
  bool failed = false;
};

/// Queued and perhaps not over.
struct Queued {
  GpuEvent over;
  std::uint64_t first = 0;  // step, from 0
  std::uint64_t steps = 1;
};

std::unique_ptr<GpuInput> input_of(const Dataset& data, Gpu& gpu, ResidentSets& sets,
                                   Communicator& world, const GpuStep::Options& options) {
  return make_gpu_input(data, gpu, sets,
                        GpuInput::Options{.batch = options.batch,
                                          .seed = options.seed,
                                          .drop_last = options.drop_last,
                                          .prefetch = options.prefetch,
                                          .rank = static_cast<std::uint64_t>(world.rank()),
                                          .ranks = static_cast<std::uint64_t>(world.size()),
                                          .crop_padding = options.crop_padding,
                                          .flips = options.flips},
                        options.residency);
}

}  // namespace

struct GpuStep::Impl {
  Impl(Model& trained, const Dataset& data, const Loss& loss, const GpuParts& gpu_parts,
       Communicator& ranks, const Options& wanted, std::function<void(const std::string&)> say)
      : options(wanted),
        model(trained),
        parts(gpu_parts),
        world(ranks),
        remark(std::move(say)),
        input(input_of(data, *parts.gpu, parts.residents != nullptr ? *parts.residents : own_sets,
                       world, options)),
        scope(parts.gpu->enter()),
        program(trained, loss, *input, parts, world, options),
        mover(*parts.gpu) {}

  DataPosition position(std::uint64_t at) const {
    return {at / input->plan().steps(), at % input->plan().steps()};
  }
  StepShape shape_of(std::uint64_t at, std::uint64_t steps) const {
    const SampleRange whole = input->plan().of_step(position(at).step);
    return {input->own_part(whole).count, whole.count, steps};
  }
  std::uint64_t block_length(std::uint64_t room);
  bool may_capture(const Captured& captured) const;
  void queue(std::uint64_t steps);
  void run_eagerly(const StepShape& shape, Captured& captured);
  bool capture(const StepShape& shape, Captured& captured);
  bool all_have(bool own);
  void body(const StepShape& shape);
  void agree(Wishes own);
  void collect(bool waits);
  void note_pace();
  std::vector<Finished> take() { return std::exchange(finished, {}); }
  void average_buffers();

  Options options;
  Model& model;
  GpuParts parts;
  Communicator& world;
  std::function<void(const std::string&)> remark;
  ResidentSets own_sets;
  std::unique_ptr<GpuInput> input;  // may take long to read: lanes come and go meanwhile
  std::unique_ptr<GpuScope> scope;  // while this is made
  GpuProgram program;
  GpuMover mover;
  std::map<StepShape, Captured> graphs;
  std::string why_eager;
  std::uint64_t next = 0;   // step that step() stands for
  std::uint64_t ahead = 0;  // steps queued beyond it
  bool has_played_many = false;
  Wishes asked;
  Wishes agreed;
  bool is_quick = false;       // on this rank
  bool all_are_quick = false;  // so that all cut the same blocks
  std::deque<Queued> blocks;
  std::vector<Finished> finished;
  std::chrono::steady_clock::time_point pace_since{};
  std::uint64_t pace_steps = 0;
  double kept_scale = 1;  // what a checkpoint keeps of the scaler
  std::uint64_t kept_good_steps = 0;
};

/// Several steps only where a graph of one has been played, and all of them are full and of one
/// epoch.
std::uint64_t GpuStep::Impl::block_length(std::uint64_t room) {
  const std::uint64_t many = options.seeds_torch ? 1 : options.steps_a_graph;
  const StepShape one = shape_of(next, 1);
  const auto found = graphs.find(one);
  const bool is_captured = found != graphs.end() && found->second.graph != nullptr;
  if (!all_are_quick || many < 2 || !input->is_resident() || !is_captured || room < many) {
    return 1;
  }
  const std::uint64_t in_epoch = position(next).step;
  const bool fits = in_epoch + many <= input->plan().steps() && shape_of(next + many - 1, 1) == one;
  return fits && !graphs[shape_of(next, many)].failed ? many : 1;
}

bool GpuStep::Impl::may_capture(const Captured& captured) const {
  return options.graph != GraphMode::off && !captured.failed;
}

void GpuStep::Impl::body(const StepShape& shape) {
  for (std::uint64_t i = 0; i < shape.steps; ++i) {
    program.step(shape.own, shape.whole);
  }
}

void GpuStep::Impl::run_eagerly(const StepShape& shape, Captured& captured) {
  if (captured.runs < warm_ups || options.seeds_torch) {
    parts.gpu->warm([&] { body(shape); });
  } else {
    const auto scratch = parts.gpu->scratch();
    body(shape);
  }
  ++captured.runs;
}

/// True when there is a graph now. Either all ranks play one or none does: a rank that queued what
/// others play would meet them in another order.
bool GpuStep::Impl::capture(const StepShape& shape, Captured& captured) {
  if (captured.graph) {
    return true;
  }
  std::string why;
  if (parts.capturing) {
    parts.capturing(true);
  }
  captured.graph = parts.gpu->capture([this, shape] { body(shape); }, why);
  if (parts.capturing) {
    parts.capturing(false);
  }
  if (!captured.graph) {
    program.forget_step();
  }
  if (all_have(captured.graph != nullptr)) {
    return true;
  }
  if (captured.graph) {
    captured.graph.reset();
    why = "another rank cannot capture it";
  }
  captured.failed = true;
  if (options.graph == GraphMode::on) {
    throw Error(Fault::bad_input,
                fmt::format("train.graph = on, but the step cannot be captured: {}; set "
                            "train.graph = auto",
                            why));
  }
  if (why_eager.empty()) {
    remark(fmt::format("steps run without a CUDA graph: {}", why));
  }
  why_eager = why;
  return false;
}

bool GpuStep::Impl::all_have(bool own) {
  std::int32_t has = own ? 1 : 0;
  if (world.size() > 1) {
    world.all_reduce(buffer_of(&has, 1), ReduceOp::min).wait();
  }
  return has != 0;
}

void GpuStep::Impl::queue(std::uint64_t steps) {
  while (blocks.size() >= most_blocks_ahead) {
    blocks.front().over->wait();
    collect(false);
  }
  const StepShape shape = shape_of(next, steps);
  program.prepare(shape.whole);
  input->prepare(position(next));
  if (options.seeds_torch) {
    parts.gpu->seed(mix(mix(options.seed, next), static_cast<std::uint64_t>(world.rank()), 0));
  }
  Captured& captured = graphs[shape];
  const bool is_warm = captured.runs >= warm_ups || steps > 1;
  if (is_warm && may_capture(captured) && capture(shape, captured)) {
    captured.graph->replay();
  } else {
    run_eagerly(shape, captured);
  }
  has_played_many = has_played_many || steps > 1;
  blocks.push_back({parts.gpu->record(Gpu::Queue::compute), next, steps});
}

void GpuStep::Impl::agree(Wishes own) {
  std::array<std::int32_t, 3> wishes{own.stop ? 1 : 0, own.checkpoint ? 1 : 0, is_quick ? 0 : 1};
  if (world.size() > 1) {
    world.all_reduce(buffer_of(wishes.data(), wishes.size()), ReduceOp::max).wait();
  }
  agreed = {wishes[0] != 0, wishes[1] != 0};
  all_are_quick = wishes[2] == 0;
}

void GpuStep::Impl::collect(bool waits) {
  while (!blocks.empty() && (waits || blocks.front().over->is_done())) {
    const Queued block = blocks.front();
    block.over->wait();
    blocks.pop_front();
    for (std::uint64_t at = block.first; at < block.first + block.steps; ++at) {
      const StepResult& result = program.result(at);
      require(result.step == at + 1, "the result of a step that is over");
      finished.push_back({.step = result.step,
                          .loss = result.loss,
                          .norm = result.norm,
                          .samples = shape_of(at, 1).whole,
                          .skipped = result.skipped != 0,
                          .loss_scale = result.loss_scale});
    }
    pace_steps += block.steps;
  }
  note_pace();
}

/// The time of a step, over windows of 32: short ones gain from graphs of several steps.
void GpuStep::Impl::note_pace() {
  constexpr std::uint64_t window = 32;
  const auto now = std::chrono::steady_clock::now();
  if (pace_steps < window) {
    return;
  }
  if (pace_since != std::chrono::steady_clock::time_point{}) {
    const double seconds = std::chrono::duration<double>(now - pace_since).count();
    is_quick = seconds / static_cast<double>(pace_steps) < options.short_step_seconds;
  }
  pace_since = now;
  pace_steps = 0;
}

void GpuStep::Impl::average_buffers() {
  if (parts.device == nullptr || !model.has_batch_norm()) {
    return;
  }
  for (const NamedTensor& buffer : model.buffers()) {
    if (buffer.tensor.scalar_type() == at::kFloat && buffer.tensor.numel() > 0) {
      parts.device
          ->all_reduce({.data = buffer.tensor.mutable_data_ptr(),
                        .count = static_cast<std::size_t>(buffer.tensor.numel()),
                        .device = parts.gpu->device()},
                       ReduceOp::mean)
          .wait();
    }
  }
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

at::Tensor GpuStep::evaluate(const at::Tensor& features) {
  const auto scope = impl_->parts.gpu->enter();
  const at::NoGradGuard none;
  const at::Tensor there = features.to(torch_device(*impl_->parts.gpu));
  at::Tensor outputs;
  impl_->parts.gpu->warm([&] { outputs = impl_->program.forward(there, false).to(at::kFloat); });
  return outputs.to(at::kCPU);  // waits, which other lanes need not
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
