/// History: what a sweep has learned so far, an append-only list of observations in the order of
/// the journal. One thread appends; others may read any prefix that they were handed. Nothing moves
/// once appended.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "hpo/space.h"

namespace muster::hpo {

/// One result: a trial's final value, or its value at a rung. A trial may appear once per resource.
struct Observation {
  std::uint64_t trial = 0;
  Config config;
  double resource = 0.0;     ///< what the value was reached with; 0 where the sweep has no resource
  double value = 0.0;        ///< to be minimised: the coordinator negates the values of a `max`
                             ///< objective. Unused where failed
  bool failed = false;       ///< crashed, not a number, timed out: data too
  std::uint32_t source = 0;  ///< 0: this sweep's own; k: lent by the k-th similar sweep, whose
                             ///< values have a scale of their own
};

class History {
 public:
  History() = default;
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  std::size_t size() const noexcept { return size_.load(std::memory_order_acquire); }
  const Observation& operator[](std::size_t position) const;
  void append(Observation observation);  ///< the writer's thread only

 private:
  // Block k holds first << k observations, so no block ever moves and a reader needs no lock.
  static constexpr std::size_t first = 256;
  std::array<std::unique_ptr<Observation[]>, 40> blocks_;
  std::atomic<std::size_t> size_{0};
};

}  // namespace muster::hpo
