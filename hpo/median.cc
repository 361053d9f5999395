// SPDX-License-Identifier: Apache-2.0
#include "hpo/median.h"

#include <cmath>

namespace muster::hpo {

Median::Median(const SchedulerOptions& options)
    : options_(options), to_(options.max_resource > 0.0 ? options.max_resource : no_limit) {
  if (to_ != no_limit) {
    rungs_.push_back(to_);
  }
}

Offer Median::offer(const Budget& budget) const {
  return {.kind = budget.may_start ? Offer::Kind::fresh : Offer::Kind::wait, .to = to_};
}

Verdict Median::judge(TrialId trial, double resource, double loss) const {
  if (resource >= to_) {
    return {.decision = Decision::complete};
  }
  const auto found = running_.find(trial);
  const std::size_t step = found == running_.end() ? 0 : found->second.averages.size();
  if (step >= options_.grace && step < completed_.size() &&
      completed_[step].size() >= options_.peers && loss > limit_at(step)) {
    return {.decision = Decision::stop};
  }
  return {.decision = Decision::keep_going, .to = to_};
}

void Median::start(TrialId trial, std::uint32_t /*bracket*/, double /*to*/) {
  running_.try_emplace(trial);
}

void Median::record(TrialId trial, double /*resource*/, double loss, const Verdict& verdict) {
  Curve& curve = running_[trial];
  curve.sum += loss;
  curve.averages.push_back(curve.sum / static_cast<double>(curve.averages.size() + 1));
  if (verdict.decision == Decision::complete) {
    keep(trial);
  } else if (verdict.decision == Decision::stop) {
    running_.erase(trial);
  }
}

void Median::end(TrialId trial, TrialState state) {
  if (state == TrialState::complete) {
    keep(trial);
  } else {
    running_.erase(trial);
  }
}

/// The quantile between order statistics, as everyone interpolates: the middle two of an even
/// number are averaged.
double Median::limit_at(std::size_t step) const {
  const RankSplit<Average>& averages = completed_[step];
  const double position = options_.quantile * static_cast<double>(averages.size() - 1);
  const double share = position - std::floor(position);
  const double below = averages.top().rbegin()->first;
  return share == 0.0 ? below : below + share * (averages.rest().begin()->first - below);
}

void Median::keep(TrialId trial) {
  const auto found = running_.find(trial);
  if (found == running_.end()) {
    return;
  }
  const std::vector<double>& averages = found->second.averages;
  while (completed_.size() < averages.size()) {
    completed_.emplace_back([quantile = options_.quantile](std::size_t n) {
      return static_cast<std::size_t>(quantile * static_cast<double>(n - 1)) + 1;
    });
  }
  for (std::size_t step = 0; step < averages.size(); ++step) {
    completed_[step].insert({averages[step], trial});
  }
  running_.erase(found);
}

}  // namespace muster::hpo
