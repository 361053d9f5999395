/// RestartPolicy: whether a failed job is started again, and how long to wait first. Knows no
/// processes; times come from outside. Back-off doubles and the budget of an hour shrinks with each
/// failure; a new checkpoint restores both.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "runtime/base/clock.h"
#include "runtime/base/error.h"

namespace muster {

struct RestartLimits {
  int per_hour = 10;                           ///< 0: never again
  std::chrono::milliseconds first_wait{0};     ///< after the first failure since a checkpoint
  std::chrono::milliseconds second_wait{500};  ///< then doubled
  std::chrono::milliseconds longest_wait{60'000};
  int host_failures = 2;  ///< a host that failed so often is left out
};

/// One failed attempt, as the policy sees it.
struct Failure {
  Fault fault = Fault::io;
  bool user_error = false;       ///< exit 64
  std::uint64_t last_step = 0;   ///< that the attempt completed; 0: none
  std::uint64_t checkpoint = 0;  ///< step of the newest checkpoint
  std::string host;              ///< of the guilty rank; empty: this machine
};

struct RestartDecision {
  bool again = false;
  std::chrono::milliseconds wait{0};
  std::string why;                     ///< a sentence for people, in both cases
  std::optional<std::string> exclude;  ///< a host to leave out from now on
};

class RestartPolicy {
 public:
  explicit RestartPolicy(RestartLimits limits) : limits_(limits) {}
  RestartDecision on_failure(const Failure& failure, Monotonic now);

 private:
  std::chrono::milliseconds next_wait();
  RestartLimits limits_;
  std::deque<Monotonic> recent_;  ///< failures of the last hour since the newest checkpoint
  std::uint64_t checkpoint_ = 0;
  int since_checkpoint_ = 0;
  int barren_ = 0;  ///< attempts in a row that completed no step
  std::map<std::string, int> host_failures_;
};

}  // namespace muster
