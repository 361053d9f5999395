// SPDX-License-Identifier: Apache-2.0
#include "launcher/rank/engine_keeper.h"

#include "runtime/base/text.h"

namespace muster {

EngineOptions engine_options(const CheckpointSettings& settings, const Path& directory) {
  EngineOptions options;
  options.directory = directory;
  options.interval.steps = settings.every_steps;
  if (!settings.every_steps && settings.every != "auto" && settings.every != "never") {
    options.interval.seconds = parse_seconds(settings.every);
  }
  options.interval.budget = settings.budget;
  options.threads = 8;  // nearly all of the time they wait for the disk, which likes many requests
  options.keep = settings.keep;
  options.keep_best = settings.keep_best ? 1 : 0;
  options.direct = settings.direct != "off";
  return options;
}

EngineKeeper::EngineKeeper(CheckpointEngine& engine, const CheckpointSettings& settings,
                           ControlHeader& control, std::function<CheckpointInfo()> info,
                           std::function<void()> before_save)
    : engine_(engine),
      is_periodic_(settings.every_steps.has_value() || settings.every != "never"),
      is_async_(settings.async),
      control_(control),
      info_(std::move(info)),
      before_save_(std::move(before_save)) {}

bool EngineKeeper::due(std::uint64_t step) {
  if (!is_periodic_) {
    return false;
  }
  show_committed();
  return engine_.due(static_cast<std::int64_t>(step));
}

void EngineKeeper::save(const StateTree& tree, std::uint64_t step, std::optional<double> score) {
  before_save_();
  CheckpointInfo info = info_();
  info.step = static_cast<std::int64_t>(step);
  info.score = score;
  engine_.save(tree, std::move(info));
  if (!is_async_) {
    engine_.wait();  // a failure has been warned of: training goes on all the same
    show_committed();
  }
}

void EngineKeeper::save_now(const StateTree& tree) {
  before_save_();
  engine_.save_now(tree, info_());
  show_committed();
}

void EngineKeeper::show_committed() {
  const auto step = static_cast<std::uint64_t>(engine_.last_committed().value_or(0));
  auto shown = control_.last_checkpoint_step.load(std::memory_order_relaxed);
  while (shown < step) {  // all ranks share the page, and all but rank 0 learn of a commit late
    if (control_.last_checkpoint_step.compare_exchange_weak(shown, step)) {
      control_.last_checkpoint_ns.store(monotonic_ns());
      return;
    }
  }
}

}  // namespace muster
