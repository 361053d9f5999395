/// Hyperband (Li et al., JMLR 2018, Algorithm 1), synchronous, with pause and resume. With s_max =
/// floor(log_eta(R / r_min)), bracket s starts n = ceil((s_max + 1) eta^s / (s + 1)) trials at r =
/// R eta^-s; rung i keeps the best floor(n eta^-(i+1)) of floor(n eta^-i) once all of them are in.
/// Brackets run s_max, .., 0, and again. Slots that a full rung leaves idle open the next bracket.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <deque>
#include <unordered_map>
#include <vector>

#include "hpo/scheduler.h"

namespace muster::hpo {

/// One bracket as the paper tabulates it: how many trials run to which resource.
struct BracketPlan {
  struct Rung {
    std::size_t trials = 0;
    double resource = 0.0;
    bool operator==(const Rung&) const = default;
  };
  std::vector<Rung> rungs;
};
/// s_max first. At most `brackets` of them, 0 for all.
std::vector<BracketPlan> bracket_table(double min_resource, double max_resource, double eta,
                                       std::size_t brackets = 0);

class Hyperband final : public Scheduler {
 public:
  explicit Hyperband(const SchedulerOptions& options);

  Offer offer(const Budget& budget) const override;
  Verdict judge(TrialId trial, double resource, double loss) const override;
  void start(TrialId trial, std::uint32_t bracket, double to) override;
  void record(TrialId trial, double resource, double loss, const Verdict& verdict) override;
  void end(TrialId trial, TrialState state) override;
  const std::vector<double>& rungs() const override { return levels_; }

 private:
  struct Entry {
    double loss = 0.0;
    TrialId trial = 0;
    auto operator<=>(const Entry&) const = default;
  };
  /// A bracket under way. Its number counts brackets since the sweep began.
  struct Bracket {
    std::uint32_t number = 0;
    const BracketPlan* plan = nullptr;
    std::size_t rung = 0;
    std::size_t expected = 0;  ///< trials of this rung
    std::size_t launched = 0;
    std::size_t running = 0;
    std::vector<Entry> results{};   ///< of this rung
    std::vector<Entry> promoted{};  ///< into this rung, not launched yet, worst first
  };

  Bracket* find(std::uint32_t number);
  const Bracket* find(std::uint32_t number) const;
  const BracketPlan& plan_of(std::uint32_t number) const { return table_[number % table_.size()]; }
  bool is_full(const Bracket& bracket, bool may_start) const;
  std::vector<Entry> survivors(const Bracket& bracket) const;
  void advance(Bracket& bracket);
  void settle(Bracket& bracket);
  void drop_finished();

  std::vector<BracketPlan> table_;
  std::vector<double> levels_;
  std::deque<Bracket> open_;  // ascending numbers
  std::uint32_t next_number_ = 0;
  std::unordered_map<TrialId, std::uint32_t> bracket_of_;
};

}  // namespace muster::hpo
