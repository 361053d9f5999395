/// A worker that has come to a sweep by itself: finds who coordinates it, works for one session
/// after the other, and leaves when the sweep is over or somebody asks.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launcher/sweep/spool.h"
#include "launcher/sweep/sweep_worker.h"
#include "runtime/config/sweep.h"

namespace muster {

/// A worker for one session, made once the coordinator is known.
struct SpoolCrew {
  std::size_t slots = 1;  ///< trials at once
  std::function<std::unique_ptr<SweepWorker>(SweepWorker::Say)> make;
};

struct SpoolService {
  Path sweep;        ///< sweeps/NAME, as it is called on this machine
  std::string name;  ///< what to be known by
  int slots = 0;     ///< asked for; 0: what the crew says
  /// Throws bad_input for words that are not for this kind of worker.
  std::function<SpoolCrew(const SpoolSession&)> crew;
  std::function<bool()> wants_out;  ///< somebody asked us to leave
};

/// The exit code: finished when the sweep is over, saved when it was asked to leave.
int serve_spool(const SpoolService& service);

/// The crew for sweeps whose trials are processes. `muster`: trains jobs of several ranks.
SpoolCrew program_crew(const SpoolService& service, const SpoolSession& session,
                       const std::string& muster);
/// A sweep's settings as its directory keeps them, for one worker: what holds for the whole sweep,
/// its workers and trials at once, is left out.
SweepSettings settings_of(const Path& sweep);
/// The session is of such a sweep.
bool is_for_programs(const SpoolSession& session);

}  // namespace muster
