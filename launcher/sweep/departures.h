/// Departures: which trials have left their slots since the last look, so that whoever watches a
/// sweep need not look at all of its trials after every commit.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <vector>

#include "hpo/sweep_state.h"

namespace muster {

class Departures {
 public:
  /// In the order of their numbers. One that came again in between is not among them.
  std::vector<hpo::TrialId> since_last(const hpo::SweepState& state) {
    std::vector<hpo::TrialId> gone;
    for (const auto id : ran_) {
      if (!state.running().contains(id)) {
        gone.push_back(id);
      }
    }
    ran_ = state.running();
    return gone;
  }

 private:
  std::set<hpo::TrialId> ran_;
};

}  // namespace muster
