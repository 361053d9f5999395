/// SimulatedRunner: trials as formulas in virtual time, on any number of workers, with failures,
/// preemptions, and memory that does not suffice. The whole coordinator runs on it: ten thousand
/// trials in a second. Deterministic; poll() moves the clock.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <queue>
#include <string>
#include <unordered_map>
#include <vector>

#include "hpo/runner.h"
#include "runtime/base/clock.h"

namespace muster::hpo {

/// What trials are. Tables serve as well: a formula may look its values up.
struct Simulation {
  /// The objective at a resource (0 where trials have none), in its own direction. Empty reports
  /// NaN.
  std::function<double(const Config&, double resource)> value;
  /// Of virtual time for one unit of resource, or for the whole trial where there is none.
  std::function<double(const Config&)> seconds = [](const Config&) { return 1.0; };
  double report_every = 1.0;  ///< units of resource
  /// Asked before each report: a state ends the launch instead (failed, evicted, preempted).
  std::function<std::optional<TrialState>(const Launch&, double resource)> fault{};
  double start_seconds = 0.0;  ///< from start() to the first step
};

class SimulatedRunner final : public TrialRunner {
 public:
  SimulatedRunner(Simulation simulation, std::size_t workers, VirtualClock& clock)
      : simulation_(std::move(simulation)), clock_(clock), slots_(workers) {}

  Slots& slots() override { return slots_; }
  void start(const Launch& launch, SlotLease lease) override;
  void answer(TrialId trial, const Verdict& verdict) override;
  void suspend() override;
  std::vector<TrialEvent> poll(Monotonic deadline) override;
  void wake() override {}

  /// Something happens to the machines at a virtual time: workers join (slots().resize), or leave.
  void at(Monotonic when, std::function<void()> action);
  /// Every trial on a slot loses it.
  void preempt(std::size_t slot);
  double busy_seconds() const { return busy_seconds_; }

 private:
  struct Run {
    Launch launch;
    SlotLease lease;
    double resource = 0.0;
    Monotonic started{};
    std::uint64_t ticket = 0;  ///< of its one event in the queue; others are void
  };
  struct Entry {
    Monotonic when;
    std::uint64_t ticket = 0;
    TrialId trial = 0;  ///< 0: an action
    bool operator>(const Entry& other) const {
      return std::tie(when, ticket) > std::tie(other.when, other.ticket);
    }
  };

  void schedule(Run& run, double seconds);
  double next_resource(const Run& run) const;
  TrialEvent happen(Run& run);
  void end(TrialId trial);

  Simulation simulation_;
  VirtualClock& clock_;
  Slots slots_;
  std::unordered_map<TrialId, Run> runs_;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
  std::map<std::uint64_t, std::function<void()>> actions_;
  std::vector<TrialEvent> ready_;
  std::uint64_t next_ticket_ = 1;
  double busy_seconds_ = 0.0;
};

}  // namespace muster::hpo
