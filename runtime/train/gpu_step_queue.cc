// How steps are queued: eagerly while they are new, then as graphs; and how results come back.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <array>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/train/gpu_step_impl.h"

namespace muster {
namespace {

constexpr std::uint64_t warm_ups = 2;         // steps of a shape before it is captured
constexpr std::size_t most_blocks_ahead = 2;  // the host before the GPU

}  // namespace

/// Several steps only where a graph of one has been played, and all of them are full and of one
/// epoch.
std::uint64_t GpuStep::Impl::block_length(std::uint64_t room) {
  const std::uint64_t many = options.seeds_torch ? 1 : options.steps_a_graph;
  const Shape one = shape_of(next, 1);
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

void GpuStep::Impl::body(const Shape& shape) {
  for (std::uint64_t i = 0; i < shape.steps; ++i) {
    program.step(shape.own, shape.whole);
  }
}

void GpuStep::Impl::run_eagerly(const Shape& shape, Captured& captured) {
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
bool GpuStep::Impl::capture(const Shape& shape, Captured& captured) {
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
  require(most_blocks_ahead * steps <= GpuProgram::result_count,
          "room for the results of all steps that are queued");
  while (blocks.size() >= most_blocks_ahead) {
    blocks.front().over->wait();
    collect(false);
  }
  const Shape shape = shape_of(next, steps);
  program.prepare(shape.whole);
  program.bring_rates(next, steps);
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

}  // namespace muster
