// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/hang_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "runtime/base/error.h"
#include "runtime/base/file_system.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

/// The longest that a look may count for: what is more, we were suspended.
constexpr std::chrono::nanoseconds longest_tick = std::chrono::seconds(1);

/// Phases that read or write much before they move again get more time.
int patience(Phase phase) {
  switch (phase) {
    case Phase::starting:
    case Phase::loading:
      return 20;
    case Phase::evaluate:
    case Phase::checkpoint:
    case Phase::finishing:
      return 10;
    default:
      return 1;
  }
}

const FlightEntry* newest(const RankSlot& slot) {
  const auto count = slot.flight_count.load(std::memory_order_acquire);
  if (count == 0) {
    return nullptr;
  }
  const auto& entry = slot.flight[(count - 1) % RankSlot::flight_length];
  return entry.sequence.load(std::memory_order_acquire) == count ? &entry : nullptr;
}

std::string describe(const FlightEntry& entry) {
  return fmt::format("{} of {}", entry.operation.data(),
                     human_bytes(static_cast<double>(entry.bytes.load())));
}

/// 'T' for a process that somebody stopped, 't' for one that a debugger holds, 'D' for one that
/// waits for a disk, 'Z' for one that has ended, '?' for one that is gone.
char process_state(pid_t pid) {
  try {
    const std::string text = read_file(fmt::format("/proc/{}/stat", pid));
    const auto end = text.rfind(')');
    return end == std::string::npos || end + 2 >= text.size() ? '?' : text[end + 2];
  } catch (const Error&) {  // it may go while it is read, too
    return '?';
  }
}

/// Cannot move by itself: whoever is there and waits, waits for it.
bool stands_still(pid_t pid) {
  return std::string_view("TZX?").find(process_state(pid)) != std::string_view::npos;
}

std::string state_remark(pid_t pid) {
  switch (process_state(pid)) {
    case 'T':
      return "; somebody stopped it (SIGSTOP)";
    case 'D':
      return "; it waits for a disk or a network file system";
    default:
      return "";
  }
}

}  // namespace

std::optional<std::string> open_operation(const RankSlot& slot) {
  const auto* entry = newest(slot);
  return entry != nullptr && entry->end_ns.load() == 0 ? std::optional(describe(*entry))
                                                       : std::nullopt;
}

std::optional<std::string> last_operation(const RankSlot& slot) {
  const auto* entry = newest(slot);
  if (entry == nullptr) {
    return std::nullopt;
  }
  return fmt::format("{} ({})", describe(*entry), entry->end_ns.load() == 0 ? "not left" : "left");
}

HangWatch::HangWatch(int ranks, std::chrono::milliseconds least,
                     std::chrono::milliseconds precedence)
    : least_(least), precedence_(precedence), ranks_(static_cast<std::size_t>(ranks)) {}

std::chrono::nanoseconds HangWatch::limit_of(Phase phase) const {
  auto times = history_[static_cast<std::size_t>(phase) % phases];
  std::chrono::nanoseconds median{0};
  if (!times.empty()) {
    const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
    std::ranges::nth_element(times, middle);
    median = *middle;
  }
  return std::max(least_ * patience(phase), 20 * median);
}

void HangWatch::remember(Phase phase, std::chrono::nanoseconds took) {
  const auto index = static_cast<std::size_t>(phase) % phases;
  auto& times = history_[index];
  if (times.size() < remembered) {
    times.push_back(took);
  } else {
    times[next_[index]++ % remembered] = took;
  }
}

void HangWatch::look(RankSlot& slot, Seen& seen, std::chrono::nanoseconds passed) {
  const auto step = slot.step.load();
  const auto flights = slot.flight_count.load();
  const auto phase = slot.phase.load();
  seen.still += passed;
  seen.in_phase += passed;
  if (step != seen.step || phase != seen.phase) {
    remember(seen.phase, seen.in_phase);
    seen.in_phase = {};
  }
  if (step != seen.step || phase != seen.phase || flights != seen.flights) {
    seen.still = {};
  }
  seen.step = step;
  seen.phase = phase;
  seen.flights = flights;
}

std::optional<Hang> HangWatch::tick(ControlPage& page, const std::vector<bool>& alive,
                                    Monotonic now) {
  const auto passed = last_ ? std::min<std::chrono::nanoseconds>(now - *last_, longest_tick)
                            : std::chrono::nanoseconds(0);
  last_ = now;
  std::vector<std::size_t> watched;
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    auto& slot = page.slot(static_cast<int>(i));
    if (slot.pid != 0 && slot.phase != Phase::finished && alive[i]) {
      look(slot, ranks_[i], passed);
      watched.push_back(i);
    }
  }
  if (std::ranges::any_of(
          watched, [&](std::size_t i) { return ranks_[i].still <= limit_of(ranks_[i].phase); })) {
    return std::nullopt;  // somebody moves: the others may well be waiting for it
  }
  // A debugger that holds one, for a look at its stacks say, holds them all: that is no hang.
  if (std::ranges::any_of(watched, [&](std::size_t i) {
        return process_state(page.slot(static_cast<int>(i)).pid) == 't';
      })) {
    std::ranges::for_each(ranks_, [](Seen& seen) { seen.still = {}; });
    return std::nullopt;
  }
  // One that was stopped or has ended, else the one that is furthest behind, holds the others up;
  // who waits in an exchange is not it.
  std::optional<std::size_t> guilty;
  const RankSlot* waiting = nullptr;
  int waiting_rank = 0;
  for (const auto i : watched) {
    const auto progress = [&](std::size_t k) {
      const bool stands = stands_still(page.slot(static_cast<int>(k)).pid);
      return std::tuple(!stands, ranks_[k].step, ranks_[k].flights,
                        ranks_[k].phase == Phase::exchange);
    };
    if (!guilty || progress(i) < progress(*guilty)) {
      guilty = i;
    }
  }
  if (!guilty) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    if (i != *guilty && alive[i] && open_operation(page.slot(static_cast<int>(i)))) {
      waiting = &page.slot(static_cast<int>(i));
      waiting_rank = waiting->global_rank;
    }
  }
  const auto& slot = page.slot(static_cast<int>(*guilty));
  const auto& seen = ranks_[*guilty];
  Hang hang{static_cast<int>(*guilty), seen.step, {}, false};
  hang.text =
      fmt::format("rank {} (pid {}) hangs: at step {}, {}, for {}", slot.global_rank.load(),
                  slot.pid.load(), seen.step, name_of(seen.phase), human_duration(seen.still));
  if (const auto inside = open_operation(slot)) {
    hang.text += fmt::format("; it entered {} and never left it", *inside);
  } else if (waiting != nullptr) {
    hang.text += fmt::format("; it never entered {}, in which rank {} waits",
                             *open_operation(*waiting), waiting_rank);
  }
  hang.waits =
      process_state(slot.pid) != 'T' && (seen.phase == Phase::exchange || open_operation(slot));
  hang.text += state_remark(slot.pid);
  if (hang.waits && seen.still <= limit_of(seen.phase) + precedence_) {
    return std::nullopt;
  }
  return hang;
}

}  // namespace muster
