// SPDX-License-Identifier: Apache-2.0
#include "launcher/rank/step_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/comm/control_page.h"
#include "runtime/config/model_settings.h"
#include "runtime/train/arena.h"
#include "runtime/train/gradient_pool.h"
#include "runtime/train/step_runner.h"

namespace muster {
namespace {

struct Preset {
  ModelSettings model;
  std::vector<std::int64_t> features;
  std::uint64_t batch = 64;
};

Preset preset(const std::string& name) {
  Preset chosen{.model = {}, .features = {784}};
  if (name == "mlp") {
    chosen.model.hidden = "128";
  } else if (name == "deep") {
    chosen.model.hidden = "128";
    chosen.model.depth = 42;
    chosen.features = {128};
  } else if (name == "wide") {
    chosen.model.hidden = "2048 2048 2048";
    chosen.batch = 32;
  } else if (name == "resnet18") {
    chosen.model.kind = "resnet18";
    chosen.features = {3, 32, 32};
    chosen.batch = 8;
  } else {
    throw Error(Fault::bad_input,
                "bench step: --model is mlp, deep, wide or resnet18, not '" + name + "'");
  }
  return chosen;
}

OptimizerRule rule_of(const std::string& optimizer) {
  OptimizerRule rule{.momentum = 0.9};
  if (optimizer == "adamw") {
    rule = {.kind = OptimizerRule::Kind::adamw, .weight_decay = 0.01};
  } else if (optimizer != "sgd") {
    throw Error(Fault::bad_input,
                "bench step: --optimizer is sgd or adamw, not '" + optimizer + "'");
  }
  return rule;
}

/// A model with everything a step needs, on a batch that stays the same.
class Rig {
 public:
  Rig(const RankGroups& ranks, const Preset& chosen, std::uint64_t batch,
      const std::string& optimizer)
      : shape_{.features = chosen.features, .classes = 10},
        model_(make_model(chosen.model, shape_, 1)),
        rule_(rule_of(optimizer)),
        arena_(model_->parameters(), ranks.node, ranks.across,
               {.parts = static_cast<std::size_t>(ranks.world.size()),
                .state_slots = rule_.slot_names().size()}),
        exchange_(make_fused_exchange(ranks, arena_, {.statistics = statistics_of(*model_)})),
        runner_(*model_, Loss{}, shape_, *exchange_, {}) {
    features_.resize(batch * shape_.feature_bytes() / sizeof(float));
    labels_.resize(batch);
    Random random(5, static_cast<std::uint64_t>(ranks.world.rank()));
    std::ranges::generate(features_, [&] { return static_cast<float>(random.normal()); });
    std::ranges::generate(labels_, [&] { return static_cast<std::int64_t>(random.below(10)); });
    batch_.whole = {0, batch * static_cast<std::uint64_t>(ranks.world.size())};
    batch_.part = {batch * static_cast<std::uint64_t>(ranks.world.rank()), batch};
    batch_.features = std::as_bytes(std::span(features_));
    batch_.labels = std::as_bytes(std::span(labels_));
  }

  void step() {
    const GradientPool::Entered entered(*exchange_->pool());
    const std::int64_t start = monotonic_ns();
    runner_.run(batch_, count_);
    const std::int64_t computed = monotonic_ns();
    const Nanoseconds waited = exchange_->waited();
    exchange_->finish({}, Update(rule_, 1e-4, ++count_));
    if (model_->has_batch_norm()) {
      const std::vector<std::uint64_t> samples(exchange_->lanes(), batch_.part.count);
      model_->advance_statistics(exchange_->statistics(samples));
    }
    const std::int64_t wait_ns = (exchange_->waited() - waited).count();
    times_.compute_ns += computed - start;
    times_.wait_ns += wait_ns;
    times_.exchange_ns += monotonic_ns() - computed - wait_ns;
  }

  struct Times {
    std::int64_t compute_ns = 0, exchange_ns = 0, wait_ns = 0;
  };
  Times times() const { return times_; }

 private:
  static std::size_t statistics_of(Model& model) {
    std::size_t floats = 0;
    for (const NamedTensor& buffer : model.buffers()) {
      floats += buffer.tensor.scalar_type() == at::kFloat
                    ? static_cast<std::size_t>(buffer.tensor.numel())
                    : 0;
    }
    return floats;
  }

  DataShape shape_;
  std::unique_ptr<Model> model_;
  OptimizerRule rule_;
  Arena arena_;
  std::unique_ptr<Exchange> exchange_;
  StepRunner runner_;
  std::vector<float> features_;
  std::vector<std::int64_t> labels_;
  HostBatch batch_;
  std::uint64_t count_ = 0;
  Times times_;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half] + values[half - 1]);
}

double microseconds(std::int64_t ns, std::size_t steps) {
  return static_cast<double>(ns) / 1e3 / static_cast<double>(std::max<std::size_t>(1, steps));
}

// The CPU time of this thread, which takes the steps.
std::int64_t core_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return time.tv_sec * std::int64_t{1'000'000'000} + time.tv_nsec;
}

/// Times blocks of steps on all ranks at once; the slowest counts.
class Blocks {
 public:
  struct Block {
    double us = 0;          ///< a step
    double core_share = 1;  ///< CPU time over time
  };
  explicit Blocks(NodeGroup& node)
      : node_(node), memory_(node.share(sizeof(Block) * static_cast<std::size_t>(node.size()))) {}

  Block time(std::size_t steps, const std::function<void()>& step) {
    node_.barrier();
    const std::int64_t start = monotonic_ns();
    const std::int64_t core_start = core_ns();
    for (std::size_t i = 0; i < steps; ++i) {
      step();
    }
    const std::int64_t took = std::max<std::int64_t>(1, monotonic_ns() - start);
    const std::span all(reinterpret_cast<Block*>(memory_->bytes().data()),
                        static_cast<std::size_t>(node_.size()));
    all[static_cast<std::size_t>(node_.rank())] = {
        microseconds(took, steps),
        static_cast<double>(core_ns() - core_start) / static_cast<double>(took)};
    node_.barrier();
    Block worst;
    for (const Block& block : all) {
      worst.us = std::max(worst.us, block.us);
      worst.core_share = std::min(worst.core_share, block.core_share);
    }
    node_.barrier();
    return worst;
  }

 private:
  NodeGroup& node_;
  std::unique_ptr<SharedMemory> memory_;
};

}  // namespace

StepBenchResult bench_step(const RankGroups& ranks, const StepBenchPlan& plan) {
  const Preset chosen = preset(plan.model);
  const std::uint64_t batch = plan.batch > 0 ? plan.batch : chosen.batch;
  const auto solo_node = solo_node_group();
  const auto solo = solo_communicator();
  Rig alone({*solo_node, *solo, *solo}, chosen, batch, plan.optimizer);
  Rig together(ranks, chosen, batch, plan.optimizer);
  Blocks blocks(ranks.node);
  const std::array<std::function<void()>, 3> modes{[&] { alone.step(); },
                                                   [&] {
                                                     alone.step();
                                                     ranks.node.barrier();
                                                   },
                                                   [&] { together.step(); }};
  constexpr double block_us = 40e3;
  const auto steps_in = [&](double us) {
    return static_cast<std::size_t>(std::clamp(us / blocks.time(3, modes[2]).us, 2.0, 500.0));
  };
  const std::size_t warm_up = steps_in(2 * block_us);
  for (const auto& mode : modes) {
    blocks.time(warm_up, mode);  // pools fill, barriers learn
  }
  const std::size_t steps = steps_in(block_us);
  const Rig::Times before = together.times();
  std::array<std::vector<double>, 3> times;
  std::vector<double> core_shares;
  for (int block = 0; block < plan.blocks; ++block) {
    for (std::size_t k = 0; k < modes.size(); ++k) {
      const std::size_t mode = (k + static_cast<std::size_t>(block)) % modes.size();
      const Blocks::Block taken = blocks.time(steps, modes[mode]);
      times[mode].push_back(taken.us);
      if (mode == 0) {
        core_shares.push_back(taken.core_share);
      }
    }
  }
  const Rig::Times after = together.times();
  std::vector<double> to_alone;
  std::vector<double> to_coupled;
  for (std::size_t i = 0; i < times[0].size(); ++i) {
    to_alone.push_back(times[0][i] / times[2][i]);
    to_coupled.push_back(times[1][i] / times[2][i]);
  }
  const std::size_t counted = steps * static_cast<std::size_t>(plan.blocks);
  StepBenchResult result{.model = plan.model, .ranks = ranks.world.size(), .batch = batch};
  result.alone_us = median(times[0]);
  result.coupled_us = median(times[1]);
  result.together_us = median(times[2]);
  result.efficiency = median(to_alone);
  result.efficiency_coupled = median(to_coupled);
  result.compute_us = microseconds(after.compute_ns - before.compute_ns, counted);
  result.wait_us = microseconds(after.wait_ns - before.wait_ns, counted);
  result.core_share = median(core_shares);
  result.exchange_us = microseconds(after.exchange_ns - before.exchange_ns, counted);
  return result;
}

std::string table_of(const StepBenchResult& result) {
  std::string text =
      fmt::format("# {} on {} ranks, batch {} of each\n", result.model, result.ranks, result.batch);
  text += fmt::format("{:>10} {:>10} {:>11} {:>10} {:>10} {:>10} {:>10} {:>10}\n", "alone us",
                      "coupled us", "together us", "to alone", "to coupled", "compute us",
                      "exchange us", "wait us");
  text += fmt::format(
      "{:>10.1f} {:>10.1f} {:>11.1f} {:>9.1f}% {:>9.1f}% {:>10.1f} {:>10.1f} {:>10.1f}\n",
      result.alone_us, result.coupled_us, result.together_us, result.efficiency * 100,
      result.efficiency_coupled * 100, result.compute_us, result.exchange_us, result.wait_us);
  if (result.busy()) {
    text += fmt::format(
        "# the machine was busy: do not judge by this (an empty barrier cost {:.0f} %, and a rank "
        "alone had {:.0f} % of a core)\n",
        100 * (result.coupled_us / result.alone_us - 1), 100 * result.core_share);
  }
  return text;
}

std::string json_of(const StepBenchResult& result) {
  return fmt::format(
      R"({{"model": "{}", "ranks": {}, "batch": {}, "alone_us": {:.2f}, "coupled_us": {:.2f}, "together_us": {:.2f}, )"
      R"("efficiency": {:.4f}, "efficiency_coupled": {:.4f}, "compute_us": {:.2f}, "exchange_us": {:.2f}, "wait_us": {:.2f}, )"
      R"("core_share": {:.3f}, "busy": {}}})",
      result.model, result.ranks, result.batch, result.alone_us, result.coupled_us,
      result.together_us, result.efficiency, result.efficiency_coupled, result.compute_us,
      result.exchange_us, result.wait_us, result.core_share, result.busy());
}

}  // namespace muster
