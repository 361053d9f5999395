// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/live_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using hpo::TrialState;

std::string human_seconds(double seconds) {
  return human_duration(std::chrono::duration_cast<Nanoseconds>(
      std::chrono::duration<double>(std::max(0.0, seconds))));
}

std::string value_text(const std::optional<double>& value) {
  return value ? fmt::format("{:.4g}", *value) : "-";
}

std::string params_text(const hpo::SweepState& state, const hpo::Trial& trial) {
  std::string text;
  for (const auto& [key, word] : state.setup().space.params(trial.config)) {
    const auto number = parse_double(word);
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key,
                        number && word.size() > 6 ? fmt::format("{:.4g}", *number) : word);
  }
  return text;
}

std::map<TrialState, std::size_t> counts_of(const hpo::SweepState& state) {
  std::map<TrialState, std::size_t> counts;
  for (const auto& trial : state.trials()) {
    counts[trial.state] += trial.is_added ? 0 : 1;
  }
  return counts;
}

std::string counts_text(const hpo::SweepState& state) {
  std::vector<std::string> parts;
  for (const auto& [kind, count] : counts_of(state)) {
    if (count > 0) {
      parts.push_back(fmt::format("{} {}", count, hpo::name_of(kind)));
    }
  }
  return join(parts, ", ");
}

/// From the share of the tightest limit that is spent; nothing early on.
std::string time_left(const hpo::SweepState& state, double now) {
  const double share = hpo::Completion::share(state.limits(), state.spent(now));
  if (share < 0.02 || share >= 1) {
    return "";
  }
  return fmt::format(", about {} left", human_seconds(now * (1 - share) / share));
}

/// Cut to `width` columns; a character is a column here.
std::string fitted(const std::string& line, std::size_t width) {
  std::size_t columns = 0;
  for (std::size_t at = 0; at < line.size(); ++at) {
    const bool starts = (static_cast<unsigned char>(line[at]) & 0xC0) != 0x80;
    if (starts && ++columns > width) {
      return line.substr(0, at);
    }
  }
  return line;
}

std::string running_line(const hpo::SweepState& state, const hpo::Trial& trial,
                         const std::string& resource) {
  std::vector<double> values;
  for (const auto& point : trial.curve) {
    values.push_back(point.value);
  }
  const std::string target =
      std::isfinite(trial.to)
          ? fmt::format("{}/{:.4g} {}", exact(trial.resource), trial.to, resource)
          : fmt::format("{} {}", exact(trial.resource), resource);
  return fmt::format("  trial {:<5} {:<18} {:<8} {:<16} {}", trial.id, target,
                     value_text(trial.value), spark(values, state.setup().maximise, 16),
                     params_text(state, trial));
}

/// How far the best has come: a complete trial outranks better values of trials that are under way.
std::string as_of(const hpo::SweepState& state, const hpo::Trial& trial,
                  const std::string& resource) {
  const double most = state.setup().scheduling.max_resource;
  return trial.state == hpo::TrialState::complete || most == 0.0
             ? ""
             : fmt::format(" (after {} of {} {})", exact(trial.resource), exact(most), resource);
}

}  // namespace

std::string spark(const std::vector<double>& values, bool maximise, std::size_t width) {
  static constexpr std::array heights{"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const std::size_t first = values.size() > width ? values.size() - width : 0;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  std::string text;
  for (std::size_t i = first; i < values.size(); ++i) {
    const double share = *high > *low ? (values[i] - *low) / (*high - *low) : 0.5;
    const double height = std::isfinite(share) ? (maximise ? share : 1 - share) : 0;
    text += heights[static_cast<std::size_t>(height * 7.999)];
  }
  return text;
}

std::vector<std::string> LiveTable::lines(const hpo::SweepState& state, double now,
                                          const Options& options) {
  const auto& setup = state.setup();
  const auto& limits = state.limits();
  std::vector<std::string> result;
  result.push_back(fmt::format("{}  {}, {} + {}, {}", setup.name, setup.objective, setup.searcher,
                               setup.scheduler, human_seconds(now)));
  const auto* best = state.best();
  result.push_back(best == nullptr
                       ? std::string("  best  none yet")
                       : fmt::format("  best  {} in trial {}{}: {}", value_text(best->value),
                                     best->id, as_of(state, *best, options.resource),
                                     params_text(state, *best)));
  result.push_back(fmt::format(
      "  {}{} trials: {}", state.asked(),
      limits.max_trials ? fmt::format(" of {:.0f}", *limits.max_trials) : "", counts_text(state)));
  const std::size_t busy = state.running().size();  // workers may have joined, or take more by now
  const std::size_t slots = std::max(busy, options.slots);
  result.push_back(fmt::format("  {}{:.3f} slot hours{}",
                               slots > 0 ? fmt::format("{} of {} slots busy, ", busy, slots) : "",
                               state.spent(now).slot_hours, time_left(state, now)));
  constexpr std::size_t most = 16;
  std::size_t shown = 0;
  for (const auto id : state.running()) {
    if (++shown > most) {
      result.push_back(fmt::format("  and {} more", state.running().size() - most));
      break;
    }
    result.push_back(running_line(state, *state.find(id), options.resource));
  }
  for (auto& line : result) {
    line = fitted(line, options.width);
  }
  return result;
}

void LiveTable::show(const hpo::Study& study) {
  if (!options_.redraws) {
    tell(study.state());
    return;
  }
  if (clock_.now() >= next_) {
    next_ = clock_.now() + std::chrono::milliseconds(200);
    draw(study);
  }
}

void LiveTable::finish(const hpo::Study& study) {
  options_.redraws ? draw(study) : tell(study.state());
}

void LiveTable::draw(const hpo::Study& study) {
  const auto table = lines(study.state(), study.now(), options_);
  std::string text;
  if (drawn_ > 0) {
    text += fmt::format("\x1b[{}A", drawn_);
  }
  for (const auto& line : table) {
    text += line + "\x1b[K\n";
  }
  text += "\x1b[J";
  drawn_ = table.size();
  std::fwrite(text.data(), 1, text.size(), stderr);
}

void LiveTable::tell(const hpo::SweepState& state) {
  for (const auto& trial : state.trials()) {
    auto& known = told_.try_emplace(trial.id, TrialState::queued).first->second;
    if (known == trial.state) {
      continue;
    }
    known = trial.state;
    if (hpo::is_final(trial.state) && !trial.is_added) {
      log::info(fmt::format("trial {} {}: {} {}{}", trial.id, hpo::name_of(trial.state),
                            state.setup().metric, value_text(trial.value),
                            trial.reason.empty() ? "" : " (" + trial.reason + ")"));
    }
  }
  const auto* best = state.best();
  if (best != nullptr && best->id != best_told_) {
    best_told_ = best->id;
    const bool is_complete = best->state == hpo::TrialState::complete;
    log::info(fmt::format("best {}: trial {}{} with {} {}: {}",
                          is_complete ? "so far" : "under way", best->id,
                          as_of(state, *best, options_.resource), state.setup().metric,
                          value_text(best->value), params_text(state, *best)));
  }
}

}  // namespace muster
