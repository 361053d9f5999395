// SPDX-License-Identifier: Apache-2.0
#include "collectives/node/wait_tuner.h"

#include <algorithm>

namespace muster {

WaitPolicy WaitTuner::window_ended(double nanoseconds_each, std::uint32_t exhausted_spins) {
  if (!core_each_) {
    return policy_;
  }
  if (trial_window_ == 0) {
    before_last_ = last_;
    last_ = nanoseconds_each;
    ++since_trial_;
    if (trial_is_due(exhausted_spins)) {
      start_trial();
    }
    return policy_;
  }
  if (trial_window_ > 1) {
    trial_best_ = trial_best_ == 0 ? nanoseconds_each : std::min(trial_best_, nanoseconds_each);
  }
  if (++trial_window_ > trial_windows) {
    end_trial();
  }
  return policy_;
}

bool WaitTuner::trial_is_due(std::uint32_t exhausted_spins) const {
  if (before_last_ == 0) {
    return false;
  }
  // Long waits hint at a descheduled peer. Work that is merely uneven gives them too: a pause that
  // has grown says that it was so.
  const bool hinted = kept_ == WaitPolicy::spin && exhausted_spins > 1;
  return since_trial_ >= (hinted ? pause_ / 4 : pause_);
}

void WaitTuner::start_trial() {
  policy_ = kept_ == WaitPolicy::spin ? WaitPolicy::sleep : WaitPolicy::spin;
  trial_window_ = 1;
  trial_best_ = 0;
}

void WaitTuner::end_trial() {
  if (trial_best_ < worth_it * std::min(last_, before_last_)) {
    kept_ = policy_;
    pause_ = shortest_pause;
  } else {
    policy_ = kept_;
    pause_ = std::min(2 * pause_, longest_pause);
  }
  trial_window_ = 0;
  since_trial_ = 0;
  last_ = before_last_ = 0;
}

}  // namespace muster
