/// FaultReport: of all that went wrong at about the same time, what went wrong first, in a
/// sentence, and how many followed from it. A record that blames another rank is a consequence
/// wherever something else is on record.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "launcher/engine/process.h"
#include "runtime/base/error.h"
#include "runtime/comm/control_page.h"

namespace muster {

/// What is known of one rank that failed.
struct RankFault {
  int rank = 0;
  std::string host;          ///< empty: this machine
  std::int64_t time_ns = 0;  ///< monotonic: the rank's own stamp, or when we saw it end
  bool recorded = false;     ///< the rank left a record before it ended
  Fault fault = Fault::io;
  std::string text;  ///< the record, else how the process ended
  std::optional<Ended> ended;
  std::uint64_t step = 0;
  std::string operation;      ///< the last collective, "" when there was none
  std::string stacks;         ///< of a hang: the file that says where every rank was
  bool killed_by_us = false;  ///< we ended it because of another
};

struct FaultReport {
  RankFault first;
  int consequences = 0;
  /// "rank 1 was killed by SIGKILL at step 17, in all_reduce of 4 kB (not left)"
  std::string sentence() const;
  /// What the file `failure` holds: the sentence, the record with its chain and back-trace, the
  /// last lines, what to do.
  std::string file_text(std::span<const std::string> last_lines, const std::string& remedy) const;
};

/// Nothing when there is no fault. Order of the list does not matter.
std::optional<FaultReport> first_fault(std::vector<RankFault> faults);
/// What a rank left on the page, and how it ended.
RankFault fault_of_rank(int rank, RankSlot* slot, const std::optional<Ended>& ended,
                        std::int64_t seen_ns);
/// What a user can do about it, from how it ended.
std::string remedy_for(const FaultReport& report, const std::string& log_file);

}  // namespace muster
