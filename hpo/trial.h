/// What everyone in a sweep says about trials: their numbers, their states, what a report was
/// answered with. Values here are losses, to be minimised; the objective's own direction exists
/// only at the edges.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace muster::hpo {

using TrialId = std::uint32_t;  ///< 1, 2, ... in the order of the journal; 0 is no trial

/// The resource of a sweep that has none: a trial runs until it ends by itself.
inline constexpr double no_limit = std::numeric_limits<double>::infinity();

enum class TrialState : std::uint8_t {
  queued,     ///< has a configuration, waits for a slot
  running,    ///< holds a slot
  paused,     ///< at a rung, checkpoint kept; may be resumed
  preempted,  ///< lost its slot, checkpoint valid; costs no retry
  evicted,    ///< did not fit (memory); costs no retry
  failed,     ///< ended by an error, retries used up; in between it is queued
  stopped,    ///< stopped early: by the scheduler, or by hand
  complete,   ///< ran to its end
};

/// What the answer to a report is. All but `keep_going` end the trial's lease of its slot.
enum class Decision : std::uint8_t { keep_going, pause, stop, complete };

struct Verdict {
  Decision decision = Decision::keep_going;
  double to = no_limit;  ///< where to run to, cumulative, when it keeps going
  bool operator==(const Verdict&) const = default;
};

/// Nothing more will come of it, short of a larger budget.
constexpr bool is_final(TrialState state) {
  return state == TrialState::failed || state == TrialState::stopped ||
         state == TrialState::complete;
}
/// It will want a slot before any new trial does.
constexpr bool is_waiting(TrialState state) {
  return state == TrialState::queued || state == TrialState::preempted ||
         state == TrialState::evicted;
}

std::string_view name_of(TrialState state);
std::optional<TrialState> trial_state(std::string_view name);
/// "continue", "pause", "stop", "complete", as ask and tell prints them.
std::string_view name_of(Decision decision);

}  // namespace muster::hpo
