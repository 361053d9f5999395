// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "runtime/base/random.h"

namespace muster::kernels {
namespace {

std::vector<float> drawn(std::size_t count, std::uint64_t stream) {
  Random random(7, stream);
  std::vector<float> values(count);
  for (float& value : values) {
    value = static_cast<float>(random.normal());
  }
  return values;
}

TEST(Kernels, ReduceInOrderAddsSourceAfterSource) {
  const auto a = drawn(1003, 1);
  const auto b = drawn(1003, 2);
  const auto c = drawn(1003, 3);
  std::vector<float> sum(1003, 9.0F);
  const std::vector<const float*> sources{a.data(), b.data(), c.data()};
  reduce_in_order(sum.data(), sources, sum.size());
  for (std::size_t i = 0; i < sum.size(); ++i) {
    ASSERT_EQ(sum[i], (a[i] + b[i]) + c[i]);
  }
  reduce_in_order(sum.data(), {}, sum.size());
  EXPECT_EQ(sum[1002], 0.0F);
}

TEST(Kernels, ReduceInTreeIsTheBalancedTreeAndTakesMissingSourcesAsZeros) {
  const auto a = drawn(70, 1);
  const auto c = drawn(70, 3);
  const auto d = drawn(70, 4);
  const std::vector<const float*> sources{a.data(), nullptr, c.data(), d.data()};
  std::vector<float> sum(70);
  std::vector<float> scratch(70 * tree_depth(4));
  reduce_in_tree(sum.data(), sources, sum.size(), scratch.data());
  for (std::size_t i = 0; i < sum.size(); ++i) {
    ASSERT_EQ(sum[i], (a[i] + 0.0F) + (c[i] + d[i]));
  }
  EXPECT_EQ(tree_sum(std::vector<double>{1, 2, 4, 8, 16}), 31.0);
}

TEST(Kernels, AllFiniteFindsOneBadValueAnywhere) {
  auto values = drawn(517, 5);
  EXPECT_TRUE(all_finite(values.data(), values.size()));
  for (const std::size_t at : {std::size_t{0}, std::size_t{300}, std::size_t{516}}) {
    auto bad = values;
    bad[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(all_finite(bad.data(), bad.size()));
    bad[at] = -std::numeric_limits<float>::infinity();
    EXPECT_FALSE(all_finite(bad.data(), bad.size()));
  }
}

TEST(Kernels, SumOfSquaresDoesNotOverflowWhereTheValuesDoNot) {
  const std::vector<float> values(100, 3e38F);
  EXPECT_NEAR(sum_of_squares(values.data(), values.size()), 100 * 9e76, 1e72);
}

TEST(Kernels, SgdFollowsItsFormulaWithNesterovAndDecay) {
  auto p = drawn(33, 1);
  auto m = drawn(33, 2);
  const auto g = drawn(33, 3);
  const auto before = p;
  const auto momentum_before = m;
  sgd(p.data(), m.data(), g.data(), p.size(),
      {.rate = 0.1F, .momentum = 0.9F, .decay = 0.01F, .nesterov = true});
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double gradient = g[i] + 0.01 * before[i];
    const double velocity = 0.9 * momentum_before[i] + gradient;
    EXPECT_NEAR(m[i], velocity, 1e-6);
    EXPECT_NEAR(p[i], before[i] - 0.1 * (gradient + 0.9 * velocity), 1e-6);
  }
}

TEST(Kernels, AdamWShrinksTheParameterAndAdamTheGradient) {
  const auto g = drawn(19, 3);
  for (const bool decoupled : {false, true}) {
    auto p = drawn(19, 1);
    const auto before = p;
    std::vector<float> first(19);
    std::vector<float> second(19);
    const double rate = 0.01;
    const double decay = 0.1;
    adam(p.data(), first.data(), second.data(), g.data(), p.size(),
         {.rate = static_cast<float>(rate / 0.1),
          .root_correction = static_cast<float>(1 / std::sqrt(0.001)),
          .decay = decoupled ? 0.0F : 0.1F,
          .keep = decoupled ? static_cast<float>(1 - rate * decay) : 1.0F});
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double gradient = decoupled ? g[i] : g[i] + decay * before[i];
      const double kept = decoupled ? before[i] * (1 - rate * decay) : before[i];
      // After one step the moments' corrections cancel: the move is the rate times the sign.
      EXPECT_NEAR(p[i], kept - rate * gradient / (std::abs(gradient) + 1e-8), 1e-5);
    }
  }
}

}  // namespace
}  // namespace muster::kernels
