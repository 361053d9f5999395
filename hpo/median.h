/// Median: the managed service's early stopping, `Auto`. When a trial makes its s-th report, it is
/// stopped if the value is worse than the median, over the earlier trials that completed with at
/// least s reports, of the running averages of their first s values. What the service keeps fixed
/// and unpublished is visible here: the quantile (0.5), the trials needed (5), the reports spared
/// (1).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hpo/rank_split.h"
#include "hpo/scheduler.h"

namespace muster::hpo {

class Median final : public Scheduler {
 public:
  explicit Median(const SchedulerOptions& options);

  Offer offer(const Budget& budget) const override;
  Verdict judge(TrialId trial, double resource, double loss) const override;
  void start(TrialId trial, std::uint32_t bracket, double to) override;
  void record(TrialId trial, double resource, double loss, const Verdict& verdict) override;
  void end(TrialId trial, TrialState state) override;
  const std::vector<double>& rungs() const override { return rungs_; }

 private:
  using Average = std::pair<double, TrialId>;
  struct Curve {
    double sum = 0.0;
    std::vector<double> averages;
  };

  double limit_at(std::size_t step) const;
  void keep(TrialId trial);

  SchedulerOptions options_;
  double to_;
  std::vector<double> rungs_;
  std::vector<RankSplit<Average>> completed_;  // by step: the running averages up to it
  std::unordered_map<TrialId, Curve> running_;
};

}  // namespace muster::hpo
