/// TrialRunner: what the coordinator needs of whoever runs trials: processes and worker threads in
/// launcher/, formulas in hpo/simulated_runner.h. All calls come from the coordinator's thread;
/// only wake() may come from others.
///
/// The life of a launch: start(); then reports, each answered by answer(). An answer other than
/// `keep_going` ends the launch: the runner saves (pause) or ends the trial, gives the lease back
/// when the slot is free, and sends nothing more of this launch. A launch that ends by itself sends
/// one `ended` event, and the lease is back by then. Events of a trial come in order; old events
/// never follow an answer.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hpo/slots.h"
#include "hpo/space.h"
#include "hpo/trial.h"
#include "runtime/base/clock.h"

namespace muster::hpo {

/// A trial to run, or to go on with.
struct Launch {
  TrialId trial = 0;
  Config config;
  double from = 0.0;          ///< its last reported resource; the checkpoint may be older
  double to = no_limit;       ///< report, and wait for the answer, when this is reached
  std::uint32_t attempt = 1;  ///< counts every start of this trial, resumptions included
  std::uint32_t bracket = 0;
};

using Metrics = std::vector<std::pair<std::string, double>>;

struct TrialEvent {
  enum class Kind : std::uint8_t {
    report,  ///< a value of the objective
    ended,   ///< the launch is over: `state` says how
  };
  TrialId trial = 0;
  Kind kind = Kind::report;
  std::optional<double>
      resource{};  ///< report: reached so far, cumulative; nothing where there is none
  std::optional<double> value{};  ///< report: the objective in its own direction; NaN is a failure.
                                  ///< ended: complete may carry it
  Metrics metrics{};              ///< report: everything else that was measured
  double seconds = 0.0;           ///< of the trial's own time since its last event
  /// ended: complete, failed, evicted, preempted. Failed costs a retry, the next two do not.
  TrialState state = TrialState::complete;
  std::string reason{};  ///< ended: one line for the table
};

class TrialRunner {
 public:
  virtual ~TrialRunner() = default;
  /// Workers that join and leave change the slots between polls.
  virtual Slots& slots() = 0;
  /// A free slot for this trial: wherever it fits best. There is one; but none for a trial that was
  /// told to leave and has not yet, whose slot's return ends a poll.
  virtual std::optional<SlotLease> seat(TrialId /*trial*/, std::size_t shares) {
    return slots().try_lease(shares);
  }
  /// The lease belongs to the runner until the slot is free again. Never throws for a trial's
  /// fault: that is an event.
  virtual void start(const Launch& launch, SlotLease lease) = 0;
  /// The answer to a report; also, unasked, pause or stop for a running trial. Ignored for one that
  /// has ended.
  virtual void answer(TrialId trial, const Verdict& verdict) = 0;
  /// Save everything that runs, in one group, and end it: each launch sends `ended` with preempted,
  /// or failed.
  virtual void suspend() = 0;
  /// What happened; waits for the first event, for wake(), or until `deadline`.
  virtual std::vector<TrialEvent> poll(Monotonic deadline) = 0;
  virtual void wake() = 0;  ///< from any thread: the poll that waits, or the next one, returns
};

}  // namespace muster::hpo
