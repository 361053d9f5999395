// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/exchange.h"

#include <ATen/ops/clone.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <thread>

#include "collectives/node/node_communicator.h"
#include "collectives/thread/thread_node_group.h"
#include "runtime/base/random.h"
#include "runtime/train/arena.h"
#include "runtime/train/gradient_pool.h"

namespace muster {
namespace {

constexpr std::size_t lanes_in_strict = 4;

// Parameters of awkward sizes; the second is channels-last.
std::vector<NamedTensor> parameters() {
  std::vector<NamedTensor> list{
      {"a.weight", at::empty({37, 41})},
      {"b.weight", at::empty({8, 3, 5, 5}, at::MemoryFormat::ChannelsLast), true},
      {"b.bias", at::empty({5})}};
  Random random(3);
  for (NamedTensor& parameter : list) {
    auto* data = static_cast<float*>(parameter.tensor.mutable_data_ptr());
    for (std::int64_t i = 0; i < parameter.tensor.numel(); ++i) {
      data[i] = static_cast<float>(random.normal());
    }
    parameter.tensor.set_requires_grad(true);
  }
  return list;
}

// What backward would leave for a lane in a step: drawn, not computed, so that the sum is known.
float gradient_of(std::uint64_t step, std::size_t lane, std::size_t segment, std::int64_t element) {
  return static_cast<float>(
      Random(mix(step, lane, segment), static_cast<std::uint64_t>(element)).normal());
}

struct Setting {
  std::size_t strict_lanes = 0;
  OnNan on_nan = OnNan::stop;
  OptimizerRule rule{.momentum = 0.9, .weight_decay = 0.01};
  std::size_t steps = 4;
  std::optional<std::uint64_t> bad_step;  ///< a NaN in one lane's gradient
};

struct Result {
  std::vector<float> parameters;
  std::vector<StepOutcome> outcomes;
};

void leave_gradients(Arena& arena, Exchange& exchange, std::uint64_t step, std::size_t lane,
                     const Setting& setting) {
  const GradientPool::Entered entered(*exchange.pool());
  const GradientPool::Backward backward(*exchange.pool());
  for (std::size_t segment = 0; segment < arena.tensors().size(); ++segment) {
    const at::Tensor& tensor = arena.tensors()[segment];
    at::Tensor gradient = at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options());
    auto* data = static_cast<float*>(gradient.mutable_data_ptr());
    for (std::int64_t i = 0; i < gradient.numel(); ++i) {
      data[i] = gradient_of(step, lane, segment, i);
    }
    if (setting.bad_step == step && segment == 1 && lane == exchange.lanes() - 1) {
      data[17] = std::numeric_limits<float>::quiet_NaN();
    }
    tensor.mutable_grad() = gradient;
  }
}

Result train(const RankGroups& ranks, const Setting& setting) {
  GradientPool::install();
  const auto list = parameters();
  Arena arena(list, ranks.node, ranks.across,
              {.parts = static_cast<std::size_t>(ranks.world.size()),
               .alignment = setting.strict_lanes > 0 ? std::size_t{4096} : SegmentTable::line,
               .state_slots = setting.rule.slot_names().size()});
  auto exchange = make_fused_exchange(
      ranks, arena, {.strict_lanes = setting.strict_lanes, .on_nan = setting.on_nan});
  Result result;
  std::uint64_t updates = 0;
  for (std::uint64_t step = 0; step < setting.steps; ++step) {
    const SampleRange own = exchange->own_lanes();
    for (std::uint64_t lane = own.first; lane < own.end(); ++lane) {
      leave_gradients(arena, *exchange, step, lane, setting);
      exchange->hold(lane, 0.1 * static_cast<double>(lane + 1), nullptr);
    }
    result.outcomes.push_back(
        exchange->finish({.busy_ns = 5, .wants_stop = step == 2 && ranks.world.rank() == 0},
                         Update(setting.rule, 0.05, updates + 1)));
    updates += result.outcomes.back().skipped ? 0 : 1;
  }
  ranks.node.barrier();
  const auto flat = arena.parameters();
  result.parameters.assign(
      flat.begin(),
      flat.begin() + static_cast<std::ptrdiff_t>(arena.table().segments().back().offset + 5));
  return result;
}

// The communicator of a node whose ranks meet through the group alone: only its size is asked for.
class NamedSize final : public Communicator {
 public:
  NamedSize(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return size_; }
  int local_rank() const noexcept override { return rank_; }
  int local_size() const noexcept override { return size_; }
  Work all_reduce(Buffer /*buffer*/, ReduceOp /*op*/) override { return refuse(); }
  Work reduce_scatter(Buffer /*in*/, Buffer /*out*/, ReduceOp /*op*/) override { return refuse(); }
  Work all_gather(Buffer /*in*/, Buffer /*out*/) override { return refuse(); }
  Work broadcast(Buffer /*buffer*/, int /*root*/) override { return refuse(); }
  void barrier() override { refuse().wait(); }
  std::unique_ptr<Communicator> split(int /*colour*/, int /*key*/) override { return nullptr; }
  void abort(std::string_view /*why*/) noexcept override {}

 private:
  static Work refuse() { throw std::logic_error("a step on one machine needs no collective"); }
  int rank_;
  int size_;
};

std::vector<Result> train_on(int size, const Setting& setting) {
  auto groups = thread_node_groups(size);
  std::vector<Result> results(static_cast<std::size_t>(size));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      NamedSize world(rank, size);
      auto across = solo_communicator();
      results[static_cast<std::size_t>(rank)] =
          train({*groups[static_cast<std::size_t>(rank)], *across, world}, setting);
    });
  }
  threads.clear();
  return results;
}

// Two machines of `ranks` each: shared memory inside, a communicator between equal local ranks.
std::vector<Result> train_on_two_machines(int ranks, const Setting& setting) {
  std::vector<std::vector<std::unique_ptr<LocalGroup>>> nodes;
  nodes.push_back(thread_node_groups(ranks));
  nodes.push_back(thread_node_groups(ranks));
  std::vector<std::vector<std::unique_ptr<LocalGroup>>> lanes;
  std::generate_n(std::back_inserter(lanes), ranks, [] { return thread_node_groups(2); });
  std::vector<Result> results(2 * static_cast<std::size_t>(ranks));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < 2 * ranks; ++rank) {
    threads.emplace_back([&, rank] {
      const auto machine = static_cast<std::size_t>(rank / ranks);
      const auto local = static_cast<std::size_t>(rank % ranks);
      NamedSize world(rank, 2 * ranks);
      NodeCommunicator across(*lanes[local][machine]);
      results[static_cast<std::size_t>(rank)] =
          train({*nodes[machine][local], across, world}, setting);
    });
  }
  threads.clear();
  return results;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return largest;
}

// SGD with momentum in double, from the same gradients.
std::vector<float> expected_sgd(std::size_t lanes, const Setting& setting) {
  std::vector<float> flat;
  const auto list = parameters();
  for (std::size_t segment = 0; segment < list.size(); ++segment) {
    flat.resize((flat.size() + 15) / 16 * 16);
    const auto* data = static_cast<const float*>(list[segment].tensor.const_data_ptr());
    for (std::int64_t i = 0; i < list[segment].tensor.numel(); ++i) {
      double value = data[i];
      double momentum = 0;
      for (std::uint64_t step = 0; step < setting.steps; ++step) {
        double gradient = setting.rule.weight_decay * value;
        for (std::size_t lane = 0; lane < lanes; ++lane) {
          gradient += gradient_of(step, lane, segment, i);
        }
        momentum = setting.rule.momentum * momentum + gradient;
        value -= 0.05 * momentum;
      }
      flat.push_back(static_cast<float>(value));
    }
  }
  return flat;
}

void expect_second_step_left_out(const std::vector<Result>& results) {
  for (const Result& result : results) {
    EXPECT_TRUE(result.outcomes[1].skipped);
    ASSERT_TRUE(result.outcomes[1].not_finite);
    EXPECT_EQ(result.outcomes[1].not_finite->where, "b.weight");
    EXPECT_FALSE(result.outcomes[2].skipped);
    for (const float value : result.parameters) {
      ASSERT_TRUE(std::isfinite(value));
    }
  }
}

TEST(FusedExchange, SumsAllRanksGradientsAndUpdatesOnceOnAnyNumberOfRanks) {
  for (const int size : {1, 2, 3, 4}) {
    const auto results = train_on(size, {});
    const auto expected = expected_sgd(static_cast<std::size_t>(size), {});
    for (const Result& result : results) {
      ASSERT_EQ(result.parameters.size(), expected.size());
      EXPECT_LT(largest_difference(result.parameters, expected), 2e-5) << size << " ranks";
      EXPECT_EQ(result.parameters, results[0].parameters);
    }
  }
}

TEST(FusedExchange, SumsOverTwoMachinesAsOverOne) {
  for (const int ranks : {1, 2}) {
    const auto results = train_on_two_machines(ranks, {});
    const auto expected = expected_sgd(2 * static_cast<std::size_t>(ranks), {});
    for (const Result& result : results) {
      ASSERT_EQ(result.parameters.size(), expected.size());
      EXPECT_LT(largest_difference(result.parameters, expected), 2e-5) << ranks << " ranks each";
      EXPECT_EQ(result.parameters, results[0].parameters);
      EXPECT_NEAR(result.outcomes[0].loss, ranks == 1 ? 0.3 : 1.0, 1e-7);
      EXPECT_FALSE(result.outcomes[1].stop);
      EXPECT_TRUE(result.outcomes[2].stop) << "rank 0 asked for it";
      EXPECT_EQ(result.outcomes[0].busy_ns, std::vector<std::int64_t>(results.size(), 5));
    }
  }
  Setting clipped{.rule = {.clip_norm = 1.5}, .steps = 1};
  EXPECT_LT(largest_difference(train_on_two_machines(2, clipped)[3].parameters,
                               train_on(4, clipped)[0].parameters),
            1e-6);
}

// The bad lane is of the second machine, its segment lies in the shard of a rank on the first.
TEST(FusedExchange, ANanIsNamedOnEveryMachineWhenTheStepIsLeftOut) {
  const Setting setting{.on_nan = OnNan::skip, .bad_step = 1};
  expect_second_step_left_out(train_on_two_machines(2, setting));
}

TEST(FusedExchange, AllRanksLearnOfALossAStopAndEachOthersTimes) {
  for (const Result& result : train_on(3, {})) {
    EXPECT_NEAR(result.outcomes[0].loss, 0.6, 1e-12);
    EXPECT_FALSE(result.outcomes[1].stop);
    EXPECT_TRUE(result.outcomes[2].stop);
    EXPECT_EQ(result.outcomes[0].busy_ns, (std::vector<std::int64_t>{5, 5, 5}));
  }
}

TEST(FusedExchange, StrictModeGivesEqualBitsOnOneToFourRanks) {
  for (const bool with_clipping : {false, true}) {
    Setting setting{.strict_lanes = lanes_in_strict};
    setting.rule.kind = OptimizerRule::Kind::adamw;
    setting.rule.ema = 0.9;
    setting.rule.clip_norm = with_clipping ? 3.0 : 0.0;
    const auto alone = train_on(1, setting);
    for (const int size : {2, 3, 4}) {
      const auto together = train_on(size, setting);
      EXPECT_EQ(together[0].parameters, alone[0].parameters) << size << " ranks";
      EXPECT_EQ(together[0].outcomes[3].loss, alone[0].outcomes[3].loss);
      EXPECT_EQ(together[0].outcomes[3].gradient_norm, alone[0].outcomes[3].gradient_norm);
    }
  }
}

TEST(FusedExchange, ClippingScalesByTheNormOfTheWholeGradient) {
  Setting setting{.rule = {.clip_norm = 1.5}, .steps = 1};
  const auto before = parameters();
  const auto results = train_on(2, setting);
  double squares = 0;
  std::size_t at = 0;
  for (const NamedTensor& parameter : before) {
    at = (at + 15) / 16 * 16;
    const auto* data = static_cast<const float*>(parameter.tensor.const_data_ptr());
    for (std::int64_t i = 0; i < parameter.tensor.numel(); ++i, ++at) {
      const double move =
          (static_cast<double>(data[i]) - static_cast<double>(results[0].parameters[at])) / 0.05;
      squares += move * move;
    }
  }
  EXPECT_NEAR(std::sqrt(squares), 1.5, 1e-3);
  EXPECT_GT(results[0].outcomes[0].gradient_norm.value(), 10);
}

TEST(FusedExchange, ANanInOneGradientIsNamedAndLeftOutWhenAsked) {
  Setting setting{.on_nan = OnNan::skip, .bad_step = 1};
  expect_second_step_left_out(train_on(2, setting));
  setting.on_nan = OnNan::stop;
  setting.steps = 2;
  for (const Result& result : train_on(3, setting)) {
    ASSERT_TRUE(result.outcomes[1].not_finite);
    EXPECT_EQ(result.outcomes[1].not_finite->where, "b.weight");
  }
}

TEST(FusedExchange, AFrozenSegmentAndAMissingGradientStandStill) {
  GradientPool::install();
  const auto list = parameters();
  auto node = solo_node_group();
  auto world = solo_communicator();
  Arena arena(list, *node, *world, {.state_slots = 1});
  arena.table().apply({.freeze = {"a.weight"}});
  auto exchange = make_fused_exchange({*node, *world, *world}, arena, {});
  const std::vector<float> before(arena.parameters().begin(), arena.parameters().end());
  leave_gradients(arena, *exchange, 0, 0, {});
  arena.tensors()[2].mutable_grad().reset();
  exchange->hold(0, 1.0, nullptr);
  exchange->finish({}, Update({.momentum = 0.9, .weight_decay = 0.1}, 0.1, 1));
  const auto& segments = arena.table().segments();
  EXPECT_EQ(arena.parameters()[3], before[3]);
  EXPECT_NE(arena.parameters()[segments[1].offset + 3], before[segments[1].offset + 3]);
  EXPECT_EQ(arena.parameters()[segments[2].offset], before[segments[2].offset]);
}

TEST(Arena, KeepsValuesStridesAndTiedParameters) {
  auto list = parameters();
  const at::Tensor copy = list[1].tensor.detach().clone();
  list.push_back({"tied", list[0].tensor});
  auto node = solo_node_group();
  auto world = solo_communicator();
  Arena arena(list, *node, *world, {});
  EXPECT_EQ(arena.tensors().size(), 3U);
  EXPECT_TRUE(list[1].tensor.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(list[1].tensor.detach().equal(copy));
  EXPECT_TRUE(list[1].tensor.is_leaf());
  arena.parameters()[0] = 42.0F;
  EXPECT_EQ(list[0].tensor.detach()[0][0].item<float>(), 42.0F);
}

}  // namespace
}  // namespace muster
