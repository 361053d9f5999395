/// Asha: asynchronous successive halving (Li et al. 2020). Rungs r_k = r_min eta^k. Nobody waits:
/// whenever a slot is free, the best trial that is in the top floor(n_k / eta) of its rung and was
/// not promoted yet goes on, rungs scanned from the top; where there is none, a new trial starts.
/// Where trials cannot pause, a trial goes on past rung k when it is among the best max(1,
/// floor(n_k / eta)) of those that reached it, or while n_k < eta. Every decision is O(log n).
///
/// Bracket b starts at rung b. Brackets share their rungs, so each comparison has all results there
/// are. The last bracket runs straight to the full resource; `late_share` sends a share of new
/// trials there that rises from 0 with the spent budget, and in its second half all of them,
/// because promotion alone starves a model of full-fidelity results.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "hpo/rank_split.h"
#include "hpo/scheduler.h"

namespace muster::hpo {

class Asha final : public Scheduler {
 public:
  explicit Asha(const SchedulerOptions& options);

  Offer offer(const Budget& budget) const override;
  Verdict judge(TrialId trial, double resource, double loss) const override;
  void start(TrialId trial, std::uint32_t bracket, double to) override;
  void record(TrialId trial, double resource, double loss, const Verdict& verdict) override;
  void end(TrialId trial, TrialState state) override;
  const std::vector<double>& rungs() const override { return levels_; }

 private:
  /// Earlier trials win ties.
  struct Entry {
    double loss = 0.0;
    TrialId trial = 0;
    auto operator<=>(const Entry&) const = default;
  };
  struct Rung {
    RankSplit<Entry> entries;
    std::set<Entry> promotable;  ///< paused here, in the top
  };
  struct Place {
    std::size_t next = 0;           ///< the rung it runs to
    std::optional<Entry> paused{};  ///< at rung `next - 1`
  };

  std::optional<std::size_t> rung_reached(const Place& place, double resource) const;
  bool goes_on(std::size_t rung, const Entry& entry) const;
  std::uint32_t fresh_bracket(const Budget& budget) const;
  void unpause(Place& place);

  SchedulerOptions options_;
  std::vector<double> levels_;
  std::vector<Rung> rungs_;
  std::vector<double> bracket_weights_;
  std::vector<std::size_t> bracket_starts_;
  std::size_t straight_starts_ = 0;
  std::unordered_map<TrialId, Place> places_;
};

}  // namespace muster::hpo
