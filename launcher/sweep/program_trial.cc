// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/program_trial.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>

#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/memory_left.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr auto look_interval = std::chrono::milliseconds(200);

}  // namespace

void ProgramTrial::add_descriptors(std::vector<pollfd>& waits) const {
  for (const auto& rank : ranks_) {
    if (!rank.ended) {
      waits.push_back({rank.process.descriptor(), POLLIN, 0});
    }
    for (const int descriptor : {rank.output.descriptor(), rank.error.descriptor()}) {
      waits.push_back({descriptor, POLLIN, 0});  // poll(2) skips -1
    }
  }
}

std::optional<TrialEnding> ProgramTrial::advance(Monotonic now,
                                                 std::vector<TrialReading>& readings) {
  bool any_runs = false;
  for (auto& rank : ranks_) {
    if (!rank.ended) {
      rank.ended = rank.process.poll();
    }
    read_lines(rank, readings);  // after asking: last words come before the end
    any_runs = any_runs || !rank.ended;
  }
  if (now >= next_look_ || !any_runs) {
    next_look_ = now + look_interval;
    take(file_metrics_.read_new(), readings);
    enforce_limits(now);
  }
  const bool one_failed = std::ranges::any_of(
      ranks_, [](const Rank& rank) { return rank.ended && !rank.ended->finished(); });
  if (any_runs && one_failed) {
    stop(now);  // the others would wait for it for ever
  }
  if (kill_at_ && now >= *kill_at_) {
    for (auto& rank : ranks_) {
      rank.process.kill_tree();
    }
  }
  return any_runs ? std::nullopt : std::optional(ending());
}

void ProgramTrial::read_lines(Rank& rank, std::vector<TrialReading>& readings) {
  std::vector<std::string> lines;
  rank.output.read(lines);
  const auto from_error = static_cast<std::ptrdiff_t>(lines.size());
  rank.error.read(lines);
  for (const auto& line : lines) {
    take(line_metrics_.read(line), readings);
  }
  std::for_each(lines.begin() + from_error, lines.end(),
                [&](const std::string& line) { last_words_.hear(line); });
  write_log(lines);
}

void ProgramTrial::write_log(const std::vector<std::string>& lines) {
  if (lines.empty() || !log_) {
    return;
  }
  try {
    log_->append(as_bytes(join(lines, "\n") + "\n"));
  } catch (const Error& error) {  // a full disk must not end the trial
    log::warning(fmt::format("the log of trial {} ends here: {}", job_.name, error.what()));
    log_.reset();
  }
}

void ProgramTrial::take(const std::vector<MetricPoint>& points,
                        std::vector<TrialReading>& readings) {
  for (const auto& point : points) {
    if (point.name != plan_.objective) {
      latest_[point.name] = point.value;
      continue;
    }
    if (!plan_.resource_argument.empty() && point.resource && *point.resource <= from_) {
      continue;  // reported before this launch
    }
    counted_ += 1;
    last_value_ = point.value;
    readings.push_back({.value = point.value,
                        .resource = point.resource.value_or(counted_),
                        .others = {latest_.begin(), latest_.end()}});
    record(readings.back());
  }
}

void ProgramTrial::record(const TrialReading& reading) {
  if (events_) {
    auto values = reading.others;
    values.emplace_back(plan_.objective, reading.value);
    events_->write(static_cast<std::uint64_t>(std::max(0.0, std::round(reading.resource))), values);
  }
}

void ProgramTrial::enforce_limits(Monotonic now) {
  if (now >= deadline_ && !stopping()) {
    verdict_ = fmt::format("ran longer than trial.timeout = {}",
                           human_duration(std::chrono::duration_cast<Nanoseconds>(
                               std::chrono::duration<double>(*plan_.timeout))));
    stop(now);
  }
  watch_memory();
}

void ProgramTrial::watch_memory() {
  std::uint64_t bytes = 0;
  for (const auto& rank : ranks_) {
    bytes += rank.ended ? 0 : resident_below(rank.process.pid());
  }
  peak_memory_ = std::max(peak_memory_, bytes);
  if (!plan_.memory || (bytes <= *plan_.memory && !cap_->is_breached())) {
    return;
  }
  verdict_ = fmt::format("used more than trial.memory = {}",
                         human_bytes(static_cast<double>(*plan_.memory)));
  for (auto& rank : ranks_) {  // no grace: it would take the machine with it
    rank.process.kill_tree();
  }
}

void ProgramTrial::stop(Monotonic now) {
  if (stopping()) {
    return;
  }
  kill_at_ = now + seconds_long(plan_.grace);
  for (auto& rank : ranks_) {
    rank.process.signal(SIGTERM);
  }
}

std::vector<std::string> ProgramTrial::complaints() const {
  auto sentences = line_metrics_.complaints();
  std::ranges::copy(file_metrics_.complaints(), std::back_inserter(sentences));
  return sentences;
}

/// What it has written of its failure. A Muster job that was killed did not come to that: what is
/// there is of an attempt that it had overcome.
std::string ProgramTrial::own_words(const Rank& rank) const {
  if (!plan_.is_job) {
    return failure_text(job_);
  }
  const bool has_spoken = rank.ended->code().has_value();
  return has_spoken ? read_file_if_there(job_.directory / "failure").value_or("") : "";
}

std::string ProgramTrial::failure_of(const Rank& rank) const {
  if (const auto own = std::string(trim(own_words(rank))); !own.empty()) {
    return own.substr(0, own.find('\n'));
  }
  if (rank.ended->exec_error != 0) {
    return plan_.command.front() + " " + rank.ended->text();
  }
  const auto why = last_words_.why(*rank.ended).substr(0, 200);
  return rank.ended->text() + (why.empty() ? "" : ": " + why);
}

/// Killed by the kernel for it, or its own last words say so.
bool ProgramTrial::has_run_out_of_memory(const Rank& rank) const {
  const bool was_killed = rank.ended->signal() == SIGKILL || rank.ended->code() == 128 + SIGKILL;
  if (was_killed && !stopping() && out_of_memory_kills() > kills_before_) {
    return true;
  }
  if (cap_) {
    return false;  // its own limit: it will not fit another time either
  }
  constexpr std::array words{"out of memory", "OutOfMemoryError", "MemoryError", "std::bad_alloc",
                             "Cannot allocate memory"};
  return std::ranges::any_of(words, [&](const char* word) { return last_words_.any_has(word); });
}

TrialEnding ProgramTrial::ending() const {
  using enum TrialEnding::Kind;
  if (!verdict_.empty()) {
    return {.kind = failed, .reason = verdict_};
  }
  for (const auto& rank : ranks_) {
    if (rank.ended->code() == exit_saved) {
      return {.kind = saved, .reason = "saved its state"};
    }
  }
  for (const auto& rank : ranks_) {
    if (!rank.ended->finished()) {
      return {.kind = has_run_out_of_memory(rank) ? did_not_fit : failed,
              .reason = failure_of(rank)};
    }
  }
  return {.kind = finished, .reason = ""};
}

}  // namespace muster
