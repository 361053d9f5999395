// The larger networks of the project's table beside a single process.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/train/agreement.h"

namespace muster {
namespace {

using namespace test;

JobSettings wide_job() {
  JobSettings job = job_of("2048 2048 2048", 256);
  job.train.batch_size = 64;
  return job;
}

JobSettings resnet_job() {
  JobSettings job = job_of("", 32);
  job.model.kind = "resnet18";
  job.data.shape = "3 32 32";
  job.train.batch_size = 8;
  return job;
}

// Parameters after one step, within 1e-6 of the largest.
void expect_equal_step(const JobSettings& alone, const JobSettings& together) {
  const Outcome one = train_on(1, alone, 1);
  EXPECT_LE(largest_difference(one.parameters, train_on(2, together, 1).parameters),
            1e-6 * largest(one.parameters));
}

TEST(AgreementSlow, ParametersAfterOneStep) {
  JobSettings deep = job_of("128", 512);
  deep.model.depth = 42;
  deep.data.shape = "128";
  deep.optimizer.lr = 1e-4;
  expect_equal_step(deep, deep);
  expect_equal_step(wide_job(), wide_job());
  JobSettings halves = resnet_job();
  halves.train.accumulate = 2;
  expect_equal_step(halves, resnet_job());
}

TEST(AgreementSlow, LossesOfAHundredWideSteps) {
  const JobSettings job = wide_job();
  EXPECT_LE(largest_difference(train_on(1, job, 100).losses, train_on(2, job, 100).losses), 1e-5);
}

// Batch normalisation is of each rank's half: alone, two parts of a batch are the same halves.
TEST(AgreementSlow, LossesOfAResNetOnHalfBatches) {
  JobSettings job = resnet_job();
  const Outcome together = train_on(2, job, 3);
  job.train.accumulate = 2;
  EXPECT_LE(largest_difference(train_on(1, job, 3).losses, together.losses), 1e-4);
}

}  // namespace
}  // namespace muster
