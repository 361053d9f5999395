// SPDX-License-Identifier: Apache-2.0
#include "runtime/track/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/base/error.h"

namespace muster {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

Rules all() {
  return Rules({"all"}, {});
}

GradientFigures figures(double mean, double norm, bool finite = true) {
  return {.parameter = "fc.weight", .mean_magnitude = mean, .norm = norm, .finite = finite};
}

TEST(Rules, FindVanishingGradientsOnceUntilTheyHeal) {
  Rules rules = all();
  EXPECT_THAT(rules.on_gradients(1, {figures(1e-7, 1)}),
              IsEmpty());  // the threshold itself is fine
  const auto findings = rules.on_gradients(2, {figures(9e-8, 1)});
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_EQ(findings[0].rule, "vanishing_gradient");
  EXPECT_THAT(findings[0].text, HasSubstr("fc.weight is 9e-08"));
  EXPECT_THAT(rules.on_gradients(3, {figures(9e-8, 1)}), IsEmpty());
  EXPECT_THAT(rules.on_gradients(4, {figures(1, 1)}), IsEmpty());
  EXPECT_THAT(rules.on_gradients(5, {figures(9e-8, 1)}), SizeIs(1));
}

TEST(Rules, FindExplodingGradients) {
  Rules rules = all();
  for (std::uint64_t step = 0; step < 5; ++step) {
    EXPECT_THAT(rules.on_gradients(step, {figures(1, 2)}), IsEmpty());
  }
  EXPECT_THAT(rules.on_gradients(5, {figures(1, 2000)}), IsEmpty());
  EXPECT_THAT(rules.on_gradients(6, {figures(1, 2001)}), SizeIs(1));
  EXPECT_THAT(rules.on_gradients(7, {figures(1, 1)}), IsEmpty());
  const auto findings = rules.on_gradients(8, {figures(0, 0, false)});
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_THAT(findings[0].text, HasSubstr("NaN or infinity"));
}

TEST(Rules, FindDeadUnits) {
  Rules rules = all();
  for (std::uint64_t pass = 0; pass < 19; ++pass) {
    EXPECT_THAT(rules.on_activity(pass, "relu", {true, true, true, false}), IsEmpty());
  }
  const auto findings = rules.on_activity(19, "relu", {true, true, true, false});
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_THAT(findings[0].text, HasSubstr("3 of 4 units of relu"));
  for (std::uint64_t pass = 0; pass < 40; ++pass) {  // half of the units is not more than half
    EXPECT_THAT(rules.on_activity(pass, "other", {true, true, false, false}), IsEmpty());
  }
}

TEST(Rules, FindALossThatStands) {
  Rules rules = all();
  for (std::uint64_t look = 0; look < 20; ++look) {
    EXPECT_THAT(rules.on_loss(look, 1 - 0.001 * static_cast<double>(look)), IsEmpty()) << look;
  }
  bool found = false;
  for (std::uint64_t look = 20; look < 40; ++look) {
    found = !rules.on_loss(look, 0.98).empty() || found;
  }
  EXPECT_TRUE(found);
}

TEST(Rules, FindARisingLoss) {
  Rules rules({"loss_not_decreasing"}, {.loss_looks = 2});
  (void)rules.on_loss(1, 1);
  (void)rules.on_loss(2, 0.9);
  const auto findings = rules.on_loss(3, 1.06);
  ASSERT_THAT(findings, SizeIs(1));
  EXPECT_THAT(findings[0].text,
              HasSubstr("rose by 6 % over 2 looks (from 1 to 1.06); lower optimizer.lr"));
}

TEST(Rules, FindOverfit) {
  Rules rules({"overfit"}, {.overfit_patience = 2});
  EXPECT_THAT(rules.on_evaluation(1, 1, 1.2), IsEmpty());
  EXPECT_THAT(rules.on_evaluation(2, 1, 1.09), IsEmpty());
  EXPECT_THAT(rules.on_evaluation(3, 1, 1.2), IsEmpty());
  EXPECT_THAT(rules.on_evaluation(4, 1, 1.2), SizeIs(1));
}

TEST(Rules, KeepQuietUnlessAskedAndKnowTheirNames) {
  Rules rules({"overfit"}, {});
  EXPECT_THAT(rules.on_gradients(1, {figures(0, 0, false)}), IsEmpty());
  EXPECT_FALSE(rules.watches("dead_units"));
  EXPECT_THROW(Rules({"underfit"}, {}), Error);
}

}  // namespace
}  // namespace muster
