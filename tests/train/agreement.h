/// Training through the Trainer on ranks that are threads, and the differences between two of them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "collectives/node/node_communicator.h"
#include "collectives/thread/thread_node_group.h"
#include "runtime/train/gradient_pool.h"
#include "runtime/train/trainer.h"
#include "tests/support/listener.h"
#include "tests/support/ranks.h"

namespace muster::test {

inline JobSettings job_of(const std::string& hidden, std::uint64_t rows) {
  JobSettings job;
  job.model.hidden = hidden;
  job.data.format = "synthetic";
  job.data.shape = "784";
  job.data.classes = 10;
  job.data.rows = rows;
  job.optimizer.lr = 1e-3;
  job.train.seed = 11;
  job.train.batch_size = 128;
  job.train.epochs = 1000;
  return job;
}

struct Outcome {
  std::vector<double> losses;
  std::vector<float> parameters;
};

inline std::vector<float> parameters_of(const Model& model) {
  std::vector<float> all;
  for (const NamedTensor& parameter : model.parameters()) {
    const at::Tensor dense = parameter.tensor.detach().contiguous();
    const auto* values = static_cast<const float*>(dense.const_data_ptr());
    all.insert(all.end(), values, values + dense.numel());
  }
  return all;
}

inline Outcome train(const JobSettings& job, const RankGroups& ranks, std::uint64_t steps) {
  at::set_num_threads(1);
  const DataSets data = open_data(job.data, ranks.node);
  const auto model = make_model(job.model, data.train->shape(), job.train.seed);
  Listener observer;
  Trainer trainer(job, {.model = *model, .train = *data.train, .ranks = ranks}, observer);
  Outcome outcome{.losses = trainer.run_steps(steps), .parameters = {}};
  ranks.node.barrier();
  outcome.parameters = parameters_of(*model);
  ranks.node.barrier();
  return outcome;
}

inline Outcome train(const JobSettings& job, LocalGroup& group, std::uint64_t steps) {
  NodeCommunicator world(group);
  const auto across = solo_communicator();
  return train(job, {group, *across, world}, steps);
}

/// What rank 0 saw of `steps` steps on `ranks` ranks, each a thread; the other ranks must agree to
/// the bit.
inline Outcome train_on(int ranks, const JobSettings& job, std::uint64_t steps) {
  GradientPool::install();
  std::vector<Outcome> outcomes(static_cast<std::size_t>(ranks));
  const auto endings = run_threads(ranks, [&](LocalGroup& group) {
    outcomes[static_cast<std::size_t>(group.rank())] = train(job, group, steps);
  });
  EXPECT_THAT(endings, testing::Each(testing::IsEmpty()));
  for (const Outcome& other : outcomes) {
    EXPECT_EQ(other.losses, outcomes[0].losses);
    EXPECT_EQ(other.parameters, outcomes[0].parameters);
  }
  return outcomes[0];
}

/// The same on `machines` of `ranks` ranks each, numbered machine by machine: memory is shared
/// inside a machine only.
inline Endings run_machines(int machines, int ranks,
                            const std::function<void(const RankGroups&)>& body) {
  std::vector<std::vector<std::unique_ptr<LocalGroup>>> nodes;
  std::vector<std::vector<std::unique_ptr<LocalGroup>>> lanes;
  std::generate_n(std::back_inserter(nodes), machines, [&] { return thread_node_groups(ranks); });
  std::generate_n(std::back_inserter(lanes), ranks, [&] { return thread_node_groups(machines); });
  return run_threads(machines * ranks, [&](LocalGroup& all) {
    const auto machine = static_cast<std::size_t>(all.rank() / ranks);
    const auto local = static_cast<std::size_t>(all.rank() % ranks);
    NodeCommunicator world(all);
    NodeCommunicator across(*lanes[local][machine]);
    try {
      body({*nodes[machine][local], across, world});
    } catch (const std::exception& error) {
      nodes[machine][local]->abort(error.what());
      across.abort(error.what());
      world.abort(error.what());
      throw;
    }
  });
}

inline Outcome train_on_machines(int machines, int ranks, const JobSettings& job,
                                 std::uint64_t steps) {
  GradientPool::install();
  std::vector<Outcome> outcomes(static_cast<std::size_t>(machines * ranks));
  const auto endings = run_machines(machines, ranks, [&](const RankGroups& groups) {
    outcomes[static_cast<std::size_t>(groups.world.rank())] = train(job, groups, steps);
  });
  EXPECT_THAT(endings, testing::Each(testing::IsEmpty()));
  for (const Outcome& other : outcomes) {
    EXPECT_EQ(other.losses, outcomes[0].losses);
    EXPECT_EQ(other.parameters, outcomes[0].parameters);
  }
  return outcomes[0];
}

inline double largest(const std::vector<float>& values) {
  double most = 0;
  for (const float value : values) {
    most = std::max(most, std::abs(static_cast<double>(value)));
  }
  return most;
}

template <class Value>
double largest_difference(const std::vector<Value>& a, const std::vector<Value>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return most;
}

}  // namespace muster::test
