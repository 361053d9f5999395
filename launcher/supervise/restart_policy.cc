// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/restart_policy.h"

#include <fmt/format.h>

#include <algorithm>

namespace muster {

std::chrono::milliseconds RestartPolicy::next_wait() {
  if (since_checkpoint_ <= 1) {
    return limits_.first_wait;
  }
  const int doublings = std::min(since_checkpoint_ - 2, 20);
  return std::min(limits_.longest_wait, limits_.second_wait * (1 << doublings));
}

RestartDecision RestartPolicy::on_failure(const Failure& failure, Monotonic now) {
  RestartDecision decision;
  if (failure.user_error || failure.fault == Fault::bad_input) {
    decision.why = "the configuration or the command is at fault";
    return decision;
  }
  if (limits_.per_hour <= 0) {
    decision.why = "restarts are off (restarts_per_hour = 0)";
    return decision;
  }
  if (failure.checkpoint > checkpoint_) {
    checkpoint_ = failure.checkpoint;
    recent_.clear();
    since_checkpoint_ = 0;
  }
  barren_ = failure.last_step == 0 ? barren_ + 1 : 0;
  if (barren_ >= 2) {
    decision.why = "it failed twice in a row before its first step";
    return decision;
  }
  while (!recent_.empty() && now - recent_.front() > std::chrono::hours(1)) {
    recent_.pop_front();
  }
  recent_.push_back(now);
  ++since_checkpoint_;
  if (static_cast<int>(recent_.size()) > limits_.per_hour) {
    decision.why =
        fmt::format("{} failures within an hour and no new checkpoint (restarts_per_hour = {})",
                    recent_.size(), limits_.per_hour);
    return decision;
  }
  if (!failure.host.empty() && ++host_failures_[failure.host] == limits_.host_failures) {
    decision.exclude = failure.host;
  }
  decision.again = true;
  decision.wait = next_wait();
  decision.why =
      failure.checkpoint > 0
          ? fmt::format("starting again from the checkpoint of step {}", failure.checkpoint)
          : "starting again from the beginning: there is no checkpoint yet";
  if (decision.wait.count() > 0) {
    decision.why += fmt::format(", in {}", human_duration(decision.wait));
  }
  return decision;
}

}  // namespace muster
