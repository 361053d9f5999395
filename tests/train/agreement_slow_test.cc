// The larger networks of the project's table beside a single process.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/train/agreement.h"

namespace muster {
namespace {

using namespace test;

TEST(AgreementSlow, LossesOfAHundredWideSteps) {
  JobSettings job = job_of("2048 2048 2048", 256);
  job.train.batch_size = 64;
  EXPECT_LE(largest_difference(train_on(1, job, 100).losses, train_on(2, job, 100).losses), 1e-5);
}

// Batch normalisation is of each rank's half: alone, two parts of a batch are the same halves.
TEST(AgreementSlow, LossesOfAResNetOnHalfBatches) {
  JobSettings job = job_of("", 32);
  job.model.kind = "resnet18";
  job.data.shape = "3 32 32";
  job.train.batch_size = 8;
  const Outcome together = train_on(2, job, 3);
  job.train.accumulate = 2;
  EXPECT_LE(largest_difference(train_on(1, job, 3).losses, together.losses), 1e-4);
}

}  // namespace
}  // namespace muster
