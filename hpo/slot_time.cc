// SPDX-License-Identifier: Apache-2.0
#include "hpo/slot_time.h"

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

namespace muster::hpo {
namespace {

/// Something about the slots that is otherwise from a moment on.
struct Change {
  double at = 0.0;
  int running = 0;                     ///< so many more
  std::optional<std::uint32_t> slots;  ///< so many there are
};

/// All of them in order, a start at 0 among them. `last`: of the last start.
std::vector<Change> changes_of(const SweepState& state, double& last) {
  std::vector<Change> changes;
  std::set<std::uint32_t> used;
  last = 0.0;
  for (const Trial& trial : state.trials()) {
    for (const Trial::Span& span : trial.spans) {
      changes.push_back({.at = span.from, .running = 1, .slots = std::nullopt});
      if (span.to) {
        changes.push_back({.at = *span.to, .running = -1, .slots = std::nullopt});
      }
      used.insert(span.slot);
      last = std::max(last, span.from);
    }
  }
  for (const auto& [from, count] : state.slot_counts()) {
    changes.push_back({.at = from, .running = 0, .slots = count});
  }
  if (state.slot_counts().empty()) {  // of an earlier version: those that were used, all the time
    changes.push_back({.at = 0, .running = 0, .slots = static_cast<std::uint32_t>(used.size())});
  }
  std::ranges::stable_sort(changes, {}, &Change::at);
  return changes;
}

}  // namespace

double idle_share(const SweepState& state) {
  double last = 0.0;
  double used = 0.0;
  double offered = 0.0;
  double at = 0.0;
  int running = 0;
  int slots = 0;
  bool has_begun = false;
  for (const Change& change : changes_of(state, last)) {
    const double until = std::min(change.at, last);
    if (has_begun && until > at) {
      used += running * (until - at);
      offered += std::max(running, slots) * (until - at);
    }
    at = until;
    running += change.running;
    has_begun = has_begun || running > 0;
    slots = change.slots ? static_cast<int>(*change.slots) : slots;
  }
  return offered > 0.0 ? std::max(0.0, 1.0 - used / offered) : 0.0;
}

double lost_seconds(const SweepState& state) {
  double lost = 0.0;
  for (const Trial& trial : state.trials()) {
    double held = 0.0;
    for (const Trial::Span& span : trial.spans) {
      held += span.to.value_or(span.from) - span.from;
    }
    const bool came_back = trial.failures > 0 || trial.came_again;
    lost += came_back && trial.seconds > 0.0 ? std::max(0.0, held - trial.seconds) : 0.0;
  }
  return lost;
}

}  // namespace muster::hpo
