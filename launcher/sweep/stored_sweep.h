/// StoredSweep: a sweep as its directory tells it, also while somebody runs it: settings, setup and
/// the state that the journal replays to. Reads only. What `show`, `report`, `resume`, `set`,
/// `enqueue` and `stop` stand on.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "hpo/study_setup.h"
#include "hpo/sweep_state.h"
#include "runtime/base/file_system.h"
#include "runtime/config/sweep.h"

namespace muster {

struct StoredSweep {
  Path root;
  SweepSettings settings;
  hpo::StudySetup setup;
  std::unique_ptr<hpo::SweepState>
      state;  ///< refers to `setup`: a StoredSweep stays where it was made
};

/// Throws bad_input when `root` holds no sweep.
std::unique_ptr<StoredSweep> read_sweep(const Path& root);
/// Hands a request (one JSON object) to whoever runs the sweep; its answer, as JSON. Throws Error
/// when nobody answers within 10 s.
std::string ask_running_sweep(const Path& root, const std::string& request);
/// {"op":"set","max_trials":200} from "tune.max_trials=200" words; {"op":"enqueue","params":{..}}
/// from "key=value" words. Values that are numbers or booleans are sent as such. Throws bad_input
/// for a word without '='.
std::string set_request(const std::vector<std::string>& words);
std::string enqueue_request(const std::vector<std::string>& words);

}  // namespace muster
