/// Scheduler: spends the budget. Says what to run next and how far, and what becomes of a trial
/// that reports. Pure: no clock, no I/O, no random numbers. `offer` and `judge` only look; `start`,
/// `record` and `end` change. A live sweep looks, journals what it saw, then changes; a replay only
/// changes. So the two end in the same state, whatever later versions would decide.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hpo/trial.h"

namespace muster::hpo {

/// What there is to run on a free slot.
struct Offer {
  enum class Kind : std::uint8_t {
    fresh,   ///< a new configuration, in `bracket`, to `to`
    resume,  ///< the paused `trial`, on to `to`
    wait,    ///< nothing until a running trial reports
  };
  Kind kind = Kind::fresh;
  TrialId trial = 0;  ///< for resume
  std::uint32_t bracket = 0;
  double to = no_limit;
};

struct Budget {
  double spent = 0.0;     ///< the share of the sweep's budget that is gone, in [0, 1]
  bool may_start = true;  ///< new trials are still allowed; else only what there is can go on
};

class Scheduler {
 public:
  virtual ~Scheduler() = default;
  virtual Offer offer(const Budget& budget) const = 0;
  /// The answer to a report of a running trial. Resources of one trial grow; `loss` is finite.
  virtual Verdict judge(TrialId trial, double resource, double loss) const = 0;

  /// A trial starts in `bracket` or, known already, is resumed. Coming back after a fault is
  /// neither.
  virtual void start(TrialId trial, std::uint32_t bracket, double to) = 0;
  /// The report was answered with `verdict`, by `judge` or from above (a target reached, a trial
  /// stopped by hand).
  virtual void record(TrialId trial, double resource, double loss, const Verdict& verdict) = 0;
  /// The trial ended for good without a report that said so: failed, or stopped by hand, or
  /// complete by itself.
  virtual void end(TrialId trial, TrialState state) = 0;

  /// The resources at which trials are compared, ascending; empty where they are not.
  virtual const std::vector<double>& rungs() const = 0;
};

struct SchedulerOptions {
  double min_resource = 0.0;  ///< 0: max(1, max_resource / 27)
  double max_resource = 0.0;  ///< 0: the sweep has no resource; asha and hyperband refuse
  double eta = 3.0;
  /// asha: 1 unless given; hyperband: all of them unless given. More than there are is refused.
  std::size_t brackets = 0;
  bool resumes =
      true;  ///< a trial can pause and go on: promotion; else trials are stopped at rungs
  double late_share =
      0.0;  ///< asha: the share of new trials that run straight through, at the end of the budget
  // The median rule. Unset knobs are the managed service's.
  double quantile = 0.5;  ///< stop when worse than this share of the earlier trials
  std::size_t peers = 5;  ///< earlier trials needed before anyone is stopped
  std::size_t grace = 1;  ///< reports that are never judged
};

/// "fifo", "median", "hyperband", "asha", "plugin:LIB.so". "pbt" and unknown names are
/// Error(bad_input) that says what there is instead.
std::unique_ptr<Scheduler> make_scheduler(std::string_view name, const SchedulerOptions& options);

/// r_min eta^k, rounded, up to and with max_resource: (1, 27, 3) gives 1 3 9 27. Bad bounds are
/// Error(bad_input).
std::vector<double> rungs_between(double min_resource, double max_resource, double eta);

}  // namespace muster::hpo
