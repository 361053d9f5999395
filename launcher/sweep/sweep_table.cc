// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/sweep_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "hpo/study.h"
#include "launcher/sweep/text_grid.h"
#include "runtime/base/clock.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using hpo::TrialState;
constexpr std::string_view bold = "1", dim = "2", red = "31", green = "32", blue = "34";

/// Whole tenths, so that nothing flickers.
std::string time_text(double seconds) {
  if (!(seconds >= 0)) {
    return "0 s";
  }
  return seconds < 60 ? fmt::format("{:.{}f} s", seconds, seconds < 10 ? 1 : 0)
                      : human_duration(std::chrono::seconds(std::llround(seconds)));
}

std::string value_text(const std::optional<double>& value) {
  return value ? fmt::format("{:.4g}", *value) : "-";
}

std::string short_word(const std::string& word) {
  const auto number = parse_double(word);
  return number && word.size() > 6 ? fmt::format("{:.4g}", *number) : word;
}

std::string counts_text(const hpo::SweepState& state, bool has_colours) {
  std::map<TrialState, std::size_t> counts;
  for (const auto& trial : state.trials()) {
    counts[trial.state] += trial.is_added ? 0 : 1;
  }
  std::vector<std::string> parts;
  for (const auto& [kind, count] : counts) {
    if (count > 0) {
      auto text = fmt::format("{} {}", count, hpo::name_of(kind));
      parts.push_back(kind == TrialState::failed ? coloured(has_colours, red, text) : text);
    }
  }
  return join(parts, ", ");
}

/// From the share of the tightest limit that is spent; nothing early on.
std::string time_left(double share, double now) {
  if (share < 0.02 || share >= 1) {
    return "";
  }
  const double left = std::max(1.0, std::round(now * (1 - share) / share));
  return left < 60 ? fmt::format(", about {:.0f} s left", left)
                   : fmt::format(", about {} left", time_text(left));
}

std::string bar(double share, std::size_t width, bool has_colours) {
  const auto done =
      static_cast<std::size_t>(std::clamp(share, 0.0, 1.0) * static_cast<double>(width));
  std::string full;
  std::string rest;
  for (std::size_t i = 0; i < width; ++i) {
    (i < done ? full : rest) += i < done ? "━" : "─";
  }
  return coloured(has_colours, blue, full) + coloured(has_colours, dim, rest);
}

std::string progress_line(const hpo::SweepState& state, double now, const TableLook& look) {
  const auto& limits = state.limits();
  const bool is_done = state.over() && *state.over() != hpo::stopped_by_hand;
  const double share = is_done ? 1 : hpo::Completion::share(limits, state.spent(now));
  const bool has_limit = limits.max_trials || limits.max_wall || limits.max_slot_hours;
  std::string text = "  ";
  if (has_limit || state.over()) {
    text += bar(share, std::clamp<std::size_t>(look.columns / 5, 8, 24), look.has_colours) + "  ";
  }
  text += fmt::format("{}{} trials: {}", state.asked(),
                      limits.max_trials ? fmt::format(" of {:.0f}", *limits.max_trials) : "",
                      counts_text(state, look.has_colours));
  return text + (state.over() ? "" : time_left(share, now));
}

std::string best_line(const hpo::SweepState& state, const TableLook& look) {
  const auto* best = state.best();
  if (best == nullptr) {
    return "  best  none yet";
  }
  return fmt::format("  best  {}  trial {}{}: {}",
                     coloured(look.has_colours, "1;32", value_text(best->value)), best->id,
                     as_of(state, *best, look.resource), params_text(state, *best));
}

std::string slots_line(const hpo::SweepState& state, double now, const SlotCost& slot) {
  const std::size_t busy = state.running().size();
  const std::size_t slots = std::max<std::size_t>(busy, state.slots());
  const double hours = state.spent(now).slot_hours;
  return fmt::format("  slots {} of {} busy, {}", busy, slots,
                     slot.count > 0 ? fmt::format("{:.3g} {} hours", slot.count * hours, slot.unit)
                                    : time_text(hours * 3600) + " of slot time");
}

std::string progress_of(const hpo::Trial& trial) {
  const bool runs = trial.state == TrialState::running && std::isfinite(trial.to);
  return runs ? fmt::format("{}/{:.4g}", exact(trial.resource), trial.to) : exact(trial.resource);
}

}  // namespace

std::string as_of(const hpo::SweepState& state, const hpo::Trial& trial,
                  const std::string& resource) {
  const double most = state.setup().scheduling.max_resource;
  return trial.state == TrialState::complete || most == 0.0
             ? ""
             : fmt::format(" (after {} of {} {})", exact(trial.resource), exact(most), resource);
}

std::vector<double> curve_of(const hpo::Trial& trial) {
  std::vector<double> values;
  for (const auto& point : trial.curve) {
    const bool is_repeated = !point.resource && !values.empty() && values.back() == point.value;
    if (!is_repeated) {
      values.push_back(point.value);
    }
  }
  return values;
}

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

std::vector<std::string> short_names(const hpo::Space& space) {
  const auto end_of = [](const std::string& key) { return key.substr(key.rfind('.') + 1); };
  std::map<std::string, int> times;
  for (std::size_t i = 0; i < space.size(); ++i) {
    ++times[end_of(space[i].key)];
  }
  std::vector<std::string> names;
  for (std::size_t i = 0; i < space.size(); ++i) {
    const auto& key = space[i].key;
    names.push_back(times[end_of(key)] == 1 ? end_of(key) : key);
  }
  return names;
}

std::string params_text(const hpo::SweepState& state, const hpo::Trial& trial) {
  const auto& space = state.setup().space;
  const auto names = short_names(space);
  std::vector<std::string> parts;
  for (const auto& [key, word] : space.params(trial.config)) {
    parts.push_back(names[*space.find(key)] + " " + short_word(word));
  }
  return join(parts, ", ");
}

std::vector<std::string> trial_rows(const hpo::SweepState& state,
                                    const std::vector<const hpo::Trial*>& trials,
                                    const TableLook& look, bool has_states) {
  using enum TextGrid::Side;
  const auto& space = state.setup().space;
  TextGrid grid;
  grid.add_column("trial", right);
  if (has_states) {
    grid.add_column("state", left);
  }
  grid.add_column(look.resource, right);
  grid.add_column(state.setup().metric, right);
  grid.add_column("curve", left);
  for (const auto& name : short_names(space)) {
    grid.add_column(name, right);
  }
  const auto* best = state.best();
  for (const auto* trial : trials) {
    auto value = value_text(trial->value);
    std::vector<std::string> cells{std::to_string(trial->id)};
    if (has_states) {
      cells.emplace_back(hpo::name_of(trial->state));
    }
    cells.push_back(progress_of(*trial));
    cells.push_back(trial == best ? coloured(look.has_colours, green, value) : value);
    cells.push_back(spark(curve_of(*trial), state.setup().maximise, 12));
    for (std::size_t i = 0; i < space.size(); ++i) {
      const double at = trial->config.values[i];
      cells.push_back(std::isnan(at) ? "" : short_word(space.word(i, at)));
    }
    grid.add_row(std::move(cells));
  }
  return grid.lines(look.columns, look.has_colours);
}

std::vector<std::string> failure_lines(const hpo::SweepState& state, const TableLook& look,
                                       std::size_t most) {
  std::vector<std::pair<std::string, std::vector<std::string>>> groups;  // reason, whose
  for (auto trial = state.trials().rbegin(); trial != state.trials().rend(); ++trial) {
    const bool comes_again = hpo::is_waiting(trial->state) && trial->failures > 0;
    if ((trial->state != TrialState::failed && !comes_again) || trial->reason.empty()) {
      continue;
    }
    const auto text = (comes_again ? "comes again: " : "failed: ") + state.why(*trial);
    auto group = std::ranges::find(groups, text, &decltype(groups)::value_type::first);
    if (group == groups.end()) {
      group = groups.insert(groups.end(), {text, {}});
    }
    group->second.insert(group->second.begin(), std::to_string(trial->id));
  }
  std::vector<std::string> lines;
  constexpr std::size_t most_names = 4;
  for (std::size_t i = 0; i < std::min(most, groups.size()); ++i) {
    auto [text, trials] = groups[i];
    const std::size_t more = trials.size() > most_names ? trials.size() - most_names : 0;
    trials.resize(trials.size() - more);
    std::ranges::replace(text, '\n', ' ');
    lines.push_back(fitted(
        "  " + coloured(look.has_colours, red,
                        fmt::format("trial{} {}{} {}", trials.size() + more > 1 ? "s" : "",
                                    join(trials, ", "),
                                    more > 0 ? fmt::format(" and {} more", more) : "", text)),
        look.columns));
  }
  if (groups.size() > most) {
    lines.push_back(fmt::format("  and {} more kinds of failure", groups.size() - most));
  }
  return lines;
}

std::vector<std::string> sweep_table(const hpo::SweepState& state, double now,
                                     const TableLook& look) {
  const auto& setup = state.setup();
  std::vector<std::string> lines{
      fmt::format("{}  {}, {} + {}, {}", coloured(look.has_colours, bold, setup.name),
                  setup.objective, setup.searcher, setup.scheduler, time_text(now)),
      progress_line(state, now, look), best_line(state, look), slots_line(state, now, look.slot)};
  for (auto& line : lines) {
    line = fitted(line, look.columns);
  }
  constexpr std::size_t scrolls = 1000;  // nothing redraws it: room for all
  const auto failures = failure_lines(state, look, look.rows > scrolls ? 20 : 3);
  const std::size_t taken = lines.size() + failures.size() + 2;  // a heading, and who is left out
  const std::size_t room = look.rows > taken ? look.rows - taken : 0;
  std::vector<const hpo::Trial*> running;
  for (const auto id : state.running()) {
    if (running.size() < std::min<std::size_t>(room, 16)) {
      running.push_back(state.find(id));
    }
  }
  const auto rows = trial_rows(state, running, look, false);
  lines.insert(lines.end(), rows.begin(), rows.end());
  if (running.size() < state.running().size() && room > 0) {
    lines.push_back(fmt::format("  and {} more", state.running().size() - running.size()));
  }
  lines.insert(lines.end(), failures.begin(), failures.end());
  return lines;
}

}  // namespace muster
