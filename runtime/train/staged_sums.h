/// StagedSums: gradients of this rank's range that are summed before anything is updated: over the
/// lanes of the machine, and then over machines, each of which keeps its own part of the range.
/// Where one pass does sum and update, nothing is staged and no memory is taken.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/train/exchange.h"
#include "runtime/train/lane_sums.h"
#include "runtime/train/segments.h"
#include "runtime/train/trailer.h"
#include "runtime/train/update.h"

namespace muster {

class StagedSums {
 public:
  /// For rank `local_rank` of its machine, one of `ranks` in all; `across` are the equal ones of
  /// all machines. References must outlive it.
  StagedSums(const SegmentTable& table, std::size_t local_rank, Communicator& across,
             std::size_t ranks);

  /// What this rank sums over the machine's lanes: a part for each machine.
  Range local_range() const { return local_; }
  /// The part of it that stays here.
  Range own_range() const { return own_; }
  /// Sums the local range over the lanes; `select` points `sums` at a segment's gradients, and says
  /// whether any lane has one. `chunk`: floats at a time.
  void sum_lanes(const std::function<bool(std::size_t segment)>& select, LaneSums& sums,
                 std::size_t chunk);
  /// Sums the parts over machines, and with them what the ranks tell each other in `outcome`, whose
  /// busy_ns are those of the ranks from `first_rank` on.
  void meet(StepOutcome& outcome, std::size_t first_rank);
  /// The sums of the own part.
  float* own() { return landed_.data(); }

 private:
  std::size_t part_length() const { return own_.count() + trailer_.length(); }
  std::size_t place_of(std::size_t element) const;

  const SegmentTable& table_;
  Communicator& across_;
  std::size_t machines_;
  Range local_;
  Range own_;
  Trailer trailer_;
  std::vector<Piece> pieces_;
  std::vector<float> staged_;  // the local range, a trailer after each part
  std::vector<float> landed_;  // the own part and a trailer
};

}  // namespace muster
