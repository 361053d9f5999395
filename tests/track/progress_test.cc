// SPDX-License-Identifier: Apache-2.0
#include "runtime/track/progress.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

TEST(Progress, ReadsAsALine) {
  const Progress progress{.step = 420,
                          .total_steps = 1410,
                          .epoch = 2.98,
                          .epochs = 10,
                          .loss = 0.3121,
                          .samples_per_second = 12400,
                          .data_share = 0.02,
                          .compute_share = 0.91,
                          .exchange_share = 0.07,
                          .metrics = {{"val_accuracy", 0.9533}}};
  EXPECT_EQ(progress_line(progress, std::chrono::seconds(12)),
            "epoch 3/10  step 420/1410  loss 0.3121  12.4 k samples/s  left 12 s  data 2 % compute "
            "91 % exchange 7 %  "
            "val_accuracy 0.9533");
}

TEST(Progress, CountsAnEpochAsOverWhenItIs) {
  Progress progress{.step = 0, .total_steps = 460, .epoch = 0, .epochs = 20};
  EXPECT_TRUE(progress_line(progress, std::nullopt).starts_with("epoch 1/20 "));
  progress.epoch = 1;
  EXPECT_TRUE(progress_line(progress, std::nullopt).starts_with("epoch 1/20 "));
  progress.epoch = 20;
  EXPECT_TRUE(progress_line(progress, std::nullopt).starts_with("epoch 20/20 "));
}

TEST(Pace, ForgetsOldSteps) {
  Pace pace;
  EXPECT_EQ(pace.left(100), std::nullopt);
  Monotonic now{};
  pace.add(0, now);
  pace.add(100, now += std::chrono::seconds(100));
  EXPECT_EQ(pace.left(200), std::chrono::seconds(100));
  pace.add(600, now += std::chrono::seconds(50));  // ten times as fast, for long
  EXPECT_LT(*pace.left(700), std::chrono::milliseconds(10100));
}

TEST(TrainStatus, IsJson) {
  const TrainStatus status{.name = "digits",
                           .state = "training",
                           .step = 3,
                           .epoch = 0.5,
                           .metrics = {{"val_loss", 0.25}}};
  EXPECT_EQ(status_text(status, WallTime(std::chrono::milliseconds(1500))),
            "{\"name\":\"digits\",\"state\":\"training\",\"step\":3,\"epoch\":0.5,\"metrics\":{"
            "\"val_loss\":0.25},\"restarts\":0,"
            "\"lost_seconds\":0,\"updated\":\"1970-01-01T00:00:01.500Z\"}\n");
}

}  // namespace
}  // namespace muster
