/// report_page: a sweep's report as one HTML file that needs nothing else: data, style and script
/// are inside it. The data is the JSON document of hpo/ (history, curves, rungs, slots,
/// importance); this only draws.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace muster {

/// `data` is one JSON object:
///   name, objective, metric, goal ("max" or "min"), strategy, started (ISO), over (why, or null),
///   seconds, slot_seconds, lost_seconds, idle (0 to 1), resource (what a rung counts, or null),
///   best_config (an INI text, optional), keys: [{name, kind: float|int|choice|order|const, scale,
///   low, high, values}], trials: [{trial, state, value, resource, worker, started, ended, retries,
///   origin, reason, params:
///   {}, curve: [[resource, value], ..]}]
///     with times in seconds since the sweep began and null where unknown,
///   rungs: [{resource, entered, promoted}], slots: [{worker, spans: [[trial, from, to], ..]}],
///   importance: {method, values: {}}.
/// Text in it may hold anything: it is escaped here, and the page writes it as text only.
std::string report_page(std::string_view name, std::string_view data);

}  // namespace muster
