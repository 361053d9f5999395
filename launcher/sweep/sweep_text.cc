// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/sweep_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "hpo/slot_time.h"
#include "hpo/sweep_report.h"
#include "launcher/sweep/program_trial.h"
#include "launcher/sweep/trial_plans.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::string resource_of(const StoredSweep& sweep) {
  return is_job(sweep.settings) ? "epochs" : sweep.settings.tune.resource.value_or("reports");
}

/// The ten best.
std::vector<const hpo::Trial*> leaders(const hpo::SweepState& state) {
  std::vector<const hpo::Trial*> ranked;
  for (const auto& trial : state.trials()) {
    if (trial.value && trial.state != hpo::TrialState::failed) {
      ranked.push_back(&trial);
    }
  }
  std::ranges::stable_sort(ranked, {},
                           [&](const hpo::Trial* trial) { return state.loss_of(*trial->value); });
  ranked.resize(std::min<std::size_t>(ranked.size(), 10));
  return ranked;
}

std::string state_line(const StoredSweep& sweep, bool is_owned) {
  const auto& state = *sweep.state;
  const auto name = hpo::state_name(state, is_owned);
  if (name == "finished" || name == "failed") {
    return name + ": " + *state.over();
  }
  if (name == "running") {
    return "running; muster stop " + sweep.settings.name + " saves and ends it";
  }
  return fmt::format("{}: muster resume {} goes on", name, sweep.settings.name);
}

const hpo::Trial& trial_of(const StoredSweep& sweep, const std::string& word) {
  const auto number = parse_int(word);
  const auto* trial = number && *number > 0 && *number <= std::numeric_limits<hpo::TrialId>::max()
                          ? sweep.state->find(static_cast<hpo::TrialId>(*number))
                          : nullptr;
  if (trial == nullptr) {
    throw Error(Fault::bad_input,
                fmt::format("{} has no trial '{}': they are numbered from 1 to {}",
                            sweep.settings.name, word, sweep.state->trials().size()));
  }
  return *trial;
}

std::string spans_text(const hpo::Trial& trial) {
  std::string text;
  for (const auto& span : trial.spans) {
    text += fmt::format("  slot {}  from {:.2f} s to {}\n", span.slot, span.from,
                        span.to ? fmt::format("{:.2f} s", *span.to) : "now");
  }
  return text;
}

std::string curve_text(const hpo::SweepState& state, const hpo::Trial& trial,
                       const std::string& resource) {
  const auto values = curve_of(trial);
  std::string text;
  for (const auto& point : trial.curve) {
    text += fmt::format("  {:>8}  {:.5g}\n", point.resource ? exact(*point.resource) : "the end",
                        point.value);
  }
  return text.empty() ? ""
                      : fmt::format("\n  {:>8}  {}  {}\n{}", resource, state.setup().metric,
                                    spark(values, state.setup().maximise, 40), text);
}

}  // namespace

std::string sweep_text(const StoredSweep& sweep, bool is_owned, TableLook look) {
  const auto& state = *sweep.state;
  look.resource = resource_of(sweep);
  look.rows = std::numeric_limits<std::size_t>::max();  // it scrolls
  std::string text;
  for (const auto& line : sweep_table(state, state.seconds(), look)) {
    text += line + "\n";
  }
  if (const auto rows = trial_rows(state, leaders(state), look, true); !rows.empty()) {
    text += "\n  the best\n" + join(rows, "\n") + "\n";
  }
  if (const double lost = hpo::lost_seconds(state); lost >= 1) {
    text += fmt::format("\n  trial time lost to failures and preemption: {:.0f} s\n", lost);
  }
  return text + fmt::format("\n  {}\n  report: {}\n", state_line(sweep, is_owned),
                            (sweep.root / "report.html").string());
}

Path directory_of(const StoredSweep& sweep, const std::string& trial) {
  return trial_directory(sweep.root / "trials", trial_of(sweep, trial).id);
}

std::string trial_text(const StoredSweep& sweep, const std::string& word) {
  const auto& state = *sweep.state;
  const auto& trial = trial_of(sweep, word);
  const auto resource = resource_of(sweep);
  const bool is_best = state.best() == &trial;
  std::string text = fmt::format(
      "trial {} of {}: {}{}{}\n", trial.id, sweep.settings.name, hpo::name_of(trial.state),
      trial.resource > 0 ? fmt::format(" after {} {}", exact(trial.resource), resource) : "",
      is_best ? ", the best" : "");
  if (const auto reason = state.why(trial); !reason.empty()) {
    text += fmt::format("  {}\n", reason);
  }
  if (trial.value) {
    text += fmt::format("  {} = {}\n", state.setup().metric, exact(*trial.value));
  }
  for (const auto& [number, value] : trial.metrics) {
    text += fmt::format("  {} = {}\n", state.metric_names()[number], exact(value));
  }
  text += fmt::format("\n  proposed by: {}\n", trial.origin);
  for (const auto& [key, value] : state.setup().space.params(trial.config)) {
    text += fmt::format("  {} = {}\n", key, value);
  }
  text += curve_text(state, trial, resource);
  return text + "\n" + spans_text(trial) +
         fmt::format("  failures {}\n  files    {}\n", trial.failures,
                     directory_of(sweep, word).string());
}

}  // namespace muster
