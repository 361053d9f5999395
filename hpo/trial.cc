// SPDX-License-Identifier: Apache-2.0
#include "hpo/trial.h"

#include <array>
#include <cstddef>

namespace muster::hpo {
namespace {

constexpr std::array<std::string_view, 8> states = {"queued",  "running", "paused",  "preempted",
                                                    "evicted", "failed",  "stopped", "complete"};
constexpr std::array<std::string_view, 4> decisions = {"continue", "pause", "stop", "complete"};

}  // namespace

std::string_view name_of(TrialState state) {
  return states.at(static_cast<std::size_t>(state));
}

std::optional<TrialState> trial_state(std::string_view name) {
  for (std::size_t i = 0; i < states.size(); ++i) {
    if (states.at(i) == name) {
      return static_cast<TrialState>(i);
    }
  }
  return std::nullopt;
}

std::string_view name_of(Decision decision) {
  return decisions.at(static_cast<std::size_t>(decision));
}

}  // namespace muster::hpo
