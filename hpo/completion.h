/// Completion: when a sweep is over. Limits on trials, wall time and slot hours; a target; no
/// improvement of 1 % in n trials; a model that expects no gain; too many failures. Pure: times and
/// counts come from the caller, values are losses.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace muster::hpo {

/// All may be raised on a running or finished sweep. Whole numbers are kept as doubles, so that all
/// are set and stored alike.
struct Limits {
  std::optional<double> max_trials;
  std::optional<double> max_wall;  ///< seconds, over all attempts
  std::optional<double> max_slot_hours;
  std::optional<double> target;    ///< in the objective's own direction
  std::optional<double> patience;  ///< trials without an improvement of 1 %, at least 3
  std::optional<double> max_failures;
  bool converged = false;  ///< stop when the model expects no more
  bool operator==(const Limits&) const = default;
};

class Completion {
 public:
  static constexpr double improvement =
      0.01;  ///< the managed service's 1 %, of the best's magnitude
  static constexpr double negligible_gain = 1e-3;  ///< of the observed spread
  static constexpr int negligible_in_a_row = 10;

  explicit Completion(bool maximise) : maximise_(maximise) {}

  // What happened.
  void proposed(std::optional<double> expected_gain);
  void reported(double loss) { best_ = best_ && *best_ <= loss ? best_ : loss; }
  /// A trial's value counts as a result; `is_first`: the trial had none before.
  void finished(double loss, bool is_first);
  void failed() { ++failures_; }

  struct Spent {
    std::uint64_t trials = 0;  ///< asked for, failed ones included
    double wall = 0.0;
    double slot_hours = 0.0;
  };
  /// Why no new trial may start though those that run may go on; nothing while they may.
  std::optional<std::string> no_more_trials(const Limits& limits, const Spent& spent) const;
  /// Why everything ends now.
  std::optional<std::string> all_over(const Limits& limits, const Spent& spent) const;
  /// The share of the tightest limit that is gone; 0 without limits.
  static double share(const Limits& limits, const Spent& spent);
  std::uint64_t failures() const { return failures_; }
  std::uint64_t without_improvement() const { return stalled_; }

 private:
  bool maximise_;
  std::optional<double> best_;       // of every report
  std::optional<double> reference_;  // of results, moved by improvements that count
  std::uint64_t stalled_ = 0;
  std::uint64_t failures_ = 0;
  int negligible_ = 0;
};

}  // namespace muster::hpo
