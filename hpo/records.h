/// Records: what a journal of a sweep says, one struct an event, and their bytes. A sweep's state
/// is a function of its records alone. Values are in the objective's own direction. Unknown record
/// types and trailing bytes are Error(io): another version wrote them.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "hpo/completion.h"
#include "hpo/space.h"
#include "hpo/trial.h"

namespace muster::hpo {

/// The first record: what the sweep is. A journal is continued only by a sweep that says the same.
struct SweepOpened {
  std::string identity;  ///< canonical text of space, objective, searcher, scheduler, seed
  double wall = 0.0;     ///< seconds since 1970
  bool operator==(const SweepOpened&) const = default;
};
/// A process took the sweep over.
struct AttemptStarted {
  double wall = 0.0;
  bool operator==(const AttemptStarted&) const = default;
};
/// A new trial has a configuration. It is queued until launched.
struct TrialAsked {
  TrialId trial = 0;
  Config config;
  std::string origin;          ///< "random", "model", "enqueued", ..
  bool is_proposal = true;     ///< by the searcher
  std::uint64_t seen = 0;      ///< the history position that its model had seen
  std::string searcher_state;  ///< where the proposal changed it
  std::optional<double> expected_gain;
  bool operator==(const TrialAsked&) const = default;
};
struct TrialLaunched {
  TrialId trial = 0;
  std::uint32_t bracket = 0;
  double to = no_limit;
  std::uint32_t slot = 0;
  bool again = false;  ///< after a fault, a preemption, a restart: no news to the scheduler
  bool operator==(const TrialLaunched&) const = default;
};
struct TrialReported {
  TrialId trial = 0;
  std::optional<double> resource;  ///< nothing: the value is final
  double value = 0.0;              ///< finite
  Verdict verdict;
  double seconds = 0.0;
  std::vector<std::pair<std::uint32_t, double>> metrics;  ///< numbers from MetricNamed
  std::string info;
  bool operator==(const TrialReported&) const = default;
};
struct TrialEnded {
  TrialId trial = 0;
  TrialState state = TrialState::complete;  ///< what it became; `queued` is a retry
  bool is_failure = false;
  std::string reason;
  bool operator==(const TrialEnded&) const = default;
};
struct MetricNamed {
  std::uint32_t number = 0;
  std::string name;
  bool operator==(const MetricNamed&) const = default;
};
/// A result from elsewhere: an earlier sweep, a file, a person. It costs no trial of the budget.
struct ResultAdded {
  TrialId trial = 0;
  Config config;
  std::optional<double> resource;
  double value = 0.0;
  bool failed = false;
  std::string source;
  bool operator==(const ResultAdded&) const = default;
};
struct LimitsSet {
  Limits limits;
  bool by_hand = false;  ///< on the running sweep; else by its file or command line
  bool operator==(const LimitsSet&) const = default;
};
struct SweepOver {
  std::string reason;
  bool operator==(const SweepOver&) const = default;
};
/// A result of a similar sweep, the `source`-th of them: a hint for the model, no trial of this
/// one.
struct RowLent {
  std::uint32_t source = 1;
  Config config;
  std::optional<double> resource;
  double value = 0.0;
  bool failed = false;
  bool operator==(const RowLent&) const = default;
};

/// So many trials may run at once from here on: workers come and go.
struct SlotsCounted {
  std::uint32_t count = 0;
  bool operator==(const SlotsCounted&) const = default;
};

using Event =
    std::variant<SweepOpened, AttemptStarted, TrialAsked, TrialLaunched, TrialReported, TrialEnded,
                 MetricNamed, ResultAdded, LimitsSet, SweepOver, RowLent, SlotsCounted>;

struct Record {
  double seconds = 0.0;  ///< of the sweep's own time: attempts end to end, without the gaps between
  Event event;
};

std::string encode(const Record& record);
Record decode(std::string_view bytes);

}  // namespace muster::hpo
