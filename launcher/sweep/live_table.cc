// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/live_table.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "runtime/base/log.h"

namespace muster {
namespace {

void write_to_stderr(std::string_view text) {
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

TableLook look_at(int descriptor) {
  constexpr std::size_t no_end = 100000;
  TableLook look{.columns = no_end, .rows = no_end};
  winsize size{};
  if (::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 1) {
    look.has_colours = std::getenv("NO_COLOR") == nullptr;
    look.columns = size.ws_col;
    look.rows = size.ws_row - 1U;  // a line for the cursor
  }
  return look;
}

LiveTable::LiveTable(Options options, const Clock& clock)
    : options_(std::move(options)), clock_(clock) {
  if (!options_.write) {
    options_.write = write_to_stderr;
  }
  if (options_.redraws) {
    log::set_sink([this](log::Level /*level*/, std::string_view line) {
      const std::lock_guard lock(mutex_);
      put(std::string(line) + "\x1b[K\n");
    });
  }
}

LiveTable::~LiveTable() {
  if (options_.redraws) {
    log::set_sink({});
  }
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
  if (!options_.redraws) {
    tell(study.state());
    return;
  }
  draw(study);
  log::set_sink({});  // from here on the screen is everybody's
}

void LiveTable::draw(const hpo::Study& study) {
  TableLook look = look_at(STDERR_FILENO);
  look.resource = options_.resource;
  look.slot = options_.slot;
  auto lines = sweep_table(study.state(), study.now(), look);
  const std::lock_guard lock(mutex_);
  table_ = std::move(lines);
  put("");
}

/// The table, where it stood; what is above it scrolls away as on any terminal. Under the mutex.
void LiveTable::put(const std::string& above) {
  std::string text = drawn_ > 0 ? fmt::format("\x1b[{}A\r", drawn_) : "";
  text += above;
  for (const auto& line : table_) {
    text += line + "\x1b[K\n";
  }
  text += "\x1b[J";
  drawn_ = table_.size();
  options_.write(text);
}

void LiveTable::tell(const hpo::SweepState& state) {
  const auto& metric = state.setup().metric;
  for (const auto id : departures_.since_last(state)) {
    const auto& trial = *state.find(id);
    if (hpo::is_final(trial.state) && trial.state != hpo::TrialState::failed) {  // that is told
      const auto reason = state.why(trial);
      log::info(fmt::format("trial {} {}: {} {}{}", trial.id, hpo::name_of(trial.state), metric,
                            trial.value ? fmt::format("{:.4g}", *trial.value) : "-",
                            reason.empty() ? "" : " (" + reason + ")"));
    }
  }
  const auto* best = state.best();
  if (best != nullptr && best->id != best_told_) {
    best_told_ = best->id;
    const bool is_complete = best->state == hpo::TrialState::complete;
    log::info(fmt::format(
        "best {}: trial {}{} with {} {:.4g}: {}", is_complete ? "so far" : "under way", best->id,
        as_of(state, *best, options_.resource), metric, *best->value, params_text(state, *best)));
  }
}

}  // namespace muster
