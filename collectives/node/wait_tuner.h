/// WaitTuner: decides how the ranks of a node wait for each other: spin on pinned cores, or sleep
/// at once, unpinned. It compares windows of barriers under the policy in use with short trials of
/// the other one and keeps the faster. Pure: no clock.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace muster {

enum class WaitPolicy : std::uint32_t { spin, sleep };

class WaitTuner {
 public:
  /// Without a core for each rank it sleeps and never tries to spin.
  explicit WaitTuner(bool core_each)
      : core_each_(core_each),
        kept_(core_each ? WaitPolicy::spin : WaitPolicy::sleep),
        policy_(kept_) {}

  /// What the ranks do now.
  WaitPolicy policy() const noexcept { return policy_; }

  /// One window is over: nanoseconds a barrier, work between barriers included, and how many waits
  /// outlasted the spin (a peer was descheduled, or has more to do). Returns the policy of the next
  /// window.
  WaitPolicy window_ended(double nanoseconds_each, std::uint32_t exhausted_spins);

 private:
  bool trial_is_due(std::uint32_t exhausted_spins) const;
  void start_trial();
  void end_trial();

  static constexpr int trial_windows = 3;  // the first one settles: threads move, caches fill
  static constexpr int shortest_pause = 16;
  static constexpr int longest_pause = 512;
  static constexpr double worth_it = 0.95;

  bool core_each_;
  WaitPolicy kept_;
  WaitPolicy policy_;
  double last_ = 0;  // the two newest windows of the policy kept
  double before_last_ = 0;
  double trial_best_ = 0;
  int trial_window_ = 0;  // 0: no trial under way
  int since_trial_ = 0;
  int pause_ = shortest_pause;
};

}  // namespace muster
