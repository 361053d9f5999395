/// sweep_report: what a report of a sweep shows, computed here and drawn elsewhere, as one JSON
/// document: history with learning curves, the space, rungs, the timeline of the slots, how much
/// time was idle or lost. Its layout is written at launcher/report/report_page.h.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hpo/sweep_state.h"

namespace muster::hpo {

/// How much each key moved the objective, by a method that is named.
struct KeyImportance {
  std::string method;
  std::vector<std::pair<std::string, double>> values;
};

struct SweepReportExtras {
  std::string strategy;
  std::string resource;     ///< what a rung counts, such as "epochs"
  std::string best_config;  ///< an INI text
  KeyImportance importance;
};

/// `now`: seconds of the sweep. What is still running ends there.
std::string sweep_report(const SweepState& state, double now, const SweepReportExtras& extras);
/// The table alone, as `muster show SWEEP --json` prints it, and as CSV.
/// `is_owned`: somebody runs it now.
std::string sweep_json(const SweepState& state, bool is_owned);
std::string sweep_csv(const SweepState& state);

/// "finished", "failed" where that came to no value, "stopped" by hand, "running", or "interrupted"
/// when nobody runs it.
std::string state_name(const SweepState& state, bool is_owned);

}  // namespace muster::hpo
