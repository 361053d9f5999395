// SPDX-License-Identifier: Apache-2.0
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <ostream>

#include "runtime/base/random.h"
#include "runtime/data/order.h"
#include "runtime/gpu/host_kernels.h"
#include "runtime/gpu/small_floats.h"

namespace muster {
namespace {

TEST(SmallFloats, RoundAsTorchDoes) {
  Random random(1);
  for (int i = 0; i < 200000; ++i) {
    const auto value = float_of(static_cast<std::uint32_t>(random()));
    Bf16 bf16{};
    F16 f16{};
    from_float(value, bf16);
    from_float(value, f16);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(to_float(bf16)) && std::isnan(to_float(f16)));
      continue;
    }
    EXPECT_EQ(to_float(bf16), static_cast<float>(c10::BFloat16(value))) << value;
    EXPECT_EQ(to_float(f16), static_cast<float>(c10::Half(value))) << value;
  }
}

TEST(SmallFloats, EveryHalfSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const F16 half{static_cast<std::uint16_t>(bits)};
    const float value = to_float(half);
    EXPECT_TRUE(std::isnan(value) ||
                value == static_cast<float>(c10::Half(half.bits, c10::Half::from_bits())));
    F16 back{};
    from_float(value, back);
    EXPECT_TRUE(std::isnan(value) || back.bits == half.bits) << bits;
  }
}

/// A shard of two chunks, stepped a few times, against the rules in double.
class Flat {
 public:
  static constexpr std::size_t count = 1003;
  Flat() {
    Random random(5);
    for (std::size_t i = 0; i < count; ++i) {
      parameters.push_back(static_cast<float>(random.normal()));
      gradients.push_back(static_cast<float>(random.normal()));
    }
    exact.assign(parameters.begin(), parameters.end());
  }
  std::vector<Chunk> chunks{{.at = 0, .state_at = 0, .count = 512, .rate_factor = 0.5F},
                            {.at = 512, .state_at = 512, .count = count - 512, .decays = 0}};
  std::vector<float> parameters;
  std::vector<float> gradients;
  std::vector<float> first = std::vector<float>(count);
  std::vector<float> second = std::vector<float>(count);
  std::vector<double> exact;
  std::vector<double> exact_first = std::vector<double>(count);
  std::vector<double> exact_second = std::vector<double>(count);
};

struct Rule {
  const char* name;
  UpdateJob::Kind kind;
};
void PrintTo(const Rule& rule, std::ostream* out) {
  *out << rule.name;
}

class UpdateKernel : public testing::TestWithParam<Rule> {};

void step_exactly(Flat& flat, UpdateJob::Kind kind, double rate, double factor, double t) {
  using Kind = UpdateJob::Kind;
  for (std::size_t i = 0; i < Flat::count; ++i) {
    const bool is_first = i < 512;
    const double own = rate * (is_first ? 0.5 : 1.0);
    const double decay = is_first ? 0.1 : 0.0;
    double& p = flat.exact[i];
    double g = flat.gradients[i] * factor;
    double& m = flat.exact_first[i];
    double& v = flat.exact_second[i];
    if (kind == Kind::adamw) {
      p *= 1 - own * decay;
    } else {
      g += decay * p;
    }
    if (kind == Kind::adam || kind == Kind::adamw) {
      m = 0.9 * m + 0.1 * g;
      v = 0.99 * v + 0.01 * g * g;
      p -= own * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.99, t))) + 1e-8);
    } else if (kind == Kind::sgd) {
      p -= own * g;
    } else {
      m = 0.8 * m + g;
      p -= own * (kind == Kind::nesterov ? g + 0.8 * m : m);
    }
  }
}

TEST_P(UpdateKernel, FollowsItsRuleWithClipAndScale) {
  Flat flat;
  const auto kind = GetParam().kind;
  double squares = 0;
  for (const float g : flat.gradients) {
    squares += static_cast<double>(g) * g;
  }
  const double norm = std::sqrt(squares) / 4;  // the loss was multiplied by 4
  StepState state{.loss_scale = 4};
  StepNotes notes{.loss = 1, .squares = squares};
  std::vector<StepResult> results(2);
  const std::vector<float> rates{0.01F, 0.02F, 0.03F, 0.04F};
  for (int t = 1; t <= 3; ++t) {
    host_kernels::run(DecideJob{.state = &state,
                                .notes = &notes,
                                .results = results.data(),
                                .result_count = results.size(),
                                .rates = rates.data(),
                                .rate_count = rates.size(),
                                .clip_norm = 2,
                                .beta1 = 0.9,
                                .beta2 = 0.99});
    host_kernels::run(UpdateJob{.kind = kind,
                                .state = &state,
                                .chunks = flat.chunks.data(),
                                .chunk_count = flat.chunks.size(),
                                .gradients = flat.gradients.data(),
                                .parameters = flat.parameters.data(),
                                .slots = {flat.first.data(), flat.second.data()},
                                .momentum = 0.8F,
                                .beta1 = 0.9F,
                                .beta2 = 0.99F,
                                .decay = 0.1F});
    step_exactly(flat, kind, rates[static_cast<std::size_t>(t) - 1],
                 0.25 * std::min(1.0, 2 / (norm + 1e-6)), t);
  }
  EXPECT_NEAR(results[0].norm, norm, 1e-9);
  EXPECT_EQ(results[0].step, 3U);
  for (std::size_t i = 0; i < Flat::count; ++i) {
    EXPECT_NEAR(flat.parameters[i], flat.exact[i], 2e-6) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, UpdateKernel,
                         testing::Values(Rule{"sgd", UpdateJob::Kind::sgd},
                                         Rule{"momentum", UpdateJob::Kind::momentum},
                                         Rule{"nesterov", UpdateJob::Kind::nesterov},
                                         Rule{"adam", UpdateJob::Kind::adam},
                                         Rule{"adamw", UpdateJob::Kind::adamw}),
                         [](const auto& each) { return std::string(each.param.name); });

TEST(DecideKernel, HalvesTheScaleAndSkipsWhereAGradientIsNotFinite) {
  StepState state{.loss_scale = 1024};
  StepNotes notes{.loss = 0.5, .squares = std::numeric_limits<double>::infinity()};
  std::vector<StepResult> results(1);
  const float rate = 0.1F;
  DecideJob job{.state = &state,
                .notes = &notes,
                .results = results.data(),
                .rates = &rate,
                .scales_loss = true,
                .growth_every = 3};
  host_kernels::run(job);
  EXPECT_EQ(state.loss_scale, 512);
  EXPECT_EQ(state.skips, 1U);
  EXPECT_EQ(state.updates, 0U);
  EXPECT_EQ(results[0].skipped, 1U);
  EXPECT_EQ(results[0].loss_scale, 1024);
  notes.squares = 4;
  for (int i = 0; i < 3; ++i) {
    host_kernels::run(job);
    EXPECT_EQ(state.skips, 0U);
  }
  EXPECT_EQ(state.loss_scale, 1024) << "three good steps double it";
  EXPECT_EQ(state.updates, 3U);
  notes.loss = std::numeric_limits<double>::quiet_NaN();
  host_kernels::run(job);
  EXPECT_EQ(state.skips, 1U) << "a loss that is no number skips as well";
}

TEST(UpdateKernel, ASkippedStepChangesNothing) {
  Flat flat;
  const std::vector<float> before = flat.parameters;
  const StepState state{.rate = 0.1F, .skips = 1};
  host_kernels::run(UpdateJob{.state = &state,
                              .chunks = flat.chunks.data(),
                              .chunk_count = flat.chunks.size(),
                              .gradients = flat.gradients.data(),
                              .parameters = flat.parameters.data()});
  EXPECT_EQ(flat.parameters, before);
}

/// More than a part, and no whole number of them.
TEST(UpdateKernel, ASkippedStepPutsBackWhatItMoved) {
  constexpr std::size_t count = UpdateJob::moved_part + 12;
  struct alignas(16) Words {
    std::array<std::uint32_t, count> of{};
  };
  Words moved;
  Words kept;
  moved.of.fill(1);
  StepState state;
  const UpdateJob job{
      .state = &state, .moved = moved.of.data(), .kept = kept.of.data(), .moved_count = count};
  host_kernels::run(job);
  EXPECT_THAT(kept.of, testing::Each(1U));
  moved.of.fill(2);
  state.skips = 1;
  host_kernels::run(job);
  EXPECT_THAT(moved.of, testing::Each(1U));
  EXPECT_THAT(kept.of, testing::Each(1U));
}

TEST(PackKernel, ConvertsAddsAndFillsWithZeros) {
  const std::vector<float> a{1, 2, 3};
  const std::vector<PackPiece> pieces{{.from = a.data(), .offset = 0, .count = 3},
                                      {.from = nullptr, .offset = 4, .count = 2}};
  const std::vector<float> add{10, 20, 30, 0, 40, 50};
  std::vector<Bf16> to(6, Bf16{0x7fff});
  host_kernels::run(
      PackJob{.pieces = pieces, .to = to.data(), .to_type = DType::bfloat16, .add = add.data()});
  EXPECT_EQ(to_float(to[2]), 33);
  EXPECT_EQ(to_float(to[4]), 40);
  EXPECT_EQ(to[3].bits, 0x7fff) << "a gap is nobody's";
}

TEST(NormKernel, SumsSquaresAndLosses) {
  Flat flat;
  std::vector<double> partial(4);
  const std::vector<float> losses{1, 2, 3};
  StepNotes notes;
  host_kernels::run(NormJob{.gradients = flat.gradients.data(),
                            .chunks = flat.chunks.data(),
                            .chunk_count = 2,
                            .partial = partial.data(),
                            .losses = losses.data(),
                            .loss_count = 3,
                            .loss_factor = 0.5,
                            .notes = &notes});
  double squares = 0;
  for (const float g : flat.gradients) {
    squares += static_cast<double>(g) * g;
  }
  EXPECT_NEAR(notes.squares, squares, 1e-9);
  EXPECT_EQ(notes.loss, 3);
}

TEST(GatherKernel, FollowsTheOrderAndTheStep) {
  std::vector<float> rows;
  for (int i = 0; i < 10; ++i) {
    rows.insert(rows.end(), {static_cast<float>(i), static_cast<float>(-i)});
  }
  const std::vector<std::uint32_t> order{9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
  const StepState state{.step = 7};  // of five steps an epoch: the third
  std::vector<float> to(2);
  host_kernels::run(GatherJob{.state = &state,
                              .rows = rows.data(),
                              .order = order.data(),
                              .to = to.data(),
                              .row_bytes = 8,
                              .count = 1,
                              .steps_per_epoch = 5,
                              .batch = 2,
                              .first_part = 1});
  EXPECT_THAT(to, testing::ElementsAre(4, -4));
}

TEST(OrderKernel, IsTheOrderOfTheLoader) {
  for (const std::uint64_t rows : {1U, 2U, 5U, 1000U, 4097U}) {
    const SampleOrder exact(rows, 42, 7);
    std::vector<std::uint32_t> order(rows);
    host_kernels::run(OrderJob{.to = order.data(), .rows = rows, .key = exact.key()});
    for (std::size_t i = 0; i < rows; ++i) {
      ASSERT_EQ(order[i], exact(i)) << i << " of " << rows;
    }
  }
  std::vector<std::uint32_t> order(3);
  host_kernels::run(OrderJob{.to = order.data(), .rows = 3, .key = 1, .shuffles = false});
  EXPECT_THAT(order, testing::ElementsAre(0, 1, 2));
}

TEST(GatherKernel, ShiftsWithZerosAndMirrors) {
  constexpr std::uint32_t side = 6;
  std::vector<float> image(side * side);
  for (std::size_t i = 0; i < image.size(); ++i) {
    image[i] = static_cast<float>(i + 1);
  }
  const std::vector<std::uint32_t> order(64, 0);
  const StepState state{.step = 0};
  std::vector<float> to(64 * image.size());
  host_kernels::run(GatherJob{.state = &state,
                              .rows = image.data(),
                              .order = order.data(),
                              .to = to.data(),
                              .row_bytes = image.size() * 4,
                              .count = 64,
                              .batch = 64,
                              .channels = 1,
                              .height = side,
                              .width = side,
                              .crop_padding = 2,
                              .flips = true,
                              .seed = 3});
  std::size_t mirrored = 0;
  std::size_t whole = 0;
  for (std::size_t i = 0; i < 64; ++i) {
    const float* own = to.data() + i * image.size();
    const float left = own[2 * side + 2];
    const float right = own[2 * side + 3];
    EXPECT_EQ(std::abs(left - right), 1) << "neighbours stay neighbours";
    mirrored += right < left ? 1 : 0;
    whole += std::count(own, own + image.size(), 0.0F) == 0 ? 1 : 0;
  }
  EXPECT_GT(mirrored, 15U);
  EXPECT_LT(mirrored, 49U);
  EXPECT_LT(whole, 20U);
}

}  // namespace
}  // namespace muster
