/// Loader: the batches of one rank, in order, with the position each one has. Gathers ahead in a
/// thread of its own unless the set has random access in memory. One consumer; next()'s batch is
/// valid until the call after.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/data/dataset.h"

namespace muster {

/// What a checkpoint stores: the next batch that the optimiser has not consumed. Batches gathered
/// ahead are thrown away.
struct DataPosition {
  std::uint64_t epoch = 0;
  std::uint64_t step = 0;  ///< in the epoch
  bool operator==(const DataPosition&) const = default;
};

struct HostBatch {
  DataPosition position;
  SampleRange whole;                    ///< the global batch, in positions of the epoch
  SampleRange part;                     ///< this rank's part of it; may be empty
  std::span<const std::byte> features;  ///< part.count samples, 64-byte aligned
  std::span<const std::byte> labels;
};

class Loader {
 public:
  struct Options {
    std::uint64_t batch = 1;  ///< global
    std::uint64_t seed = 0;
    bool shuffle = true;
    bool drop_last = false;
    int prefetch = 2;  ///< batches gathered ahead
    /// This rank's part of a global batch: part_of(whole, rank, ranks), or its logical shards.
    std::function<SampleRange(SampleRange whole)> part;
  };
  /// The set must outlive the loader.
  Loader(const Dataset& dataset, Options options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  std::uint64_t steps_per_epoch() const;
  /// The next batch is the one at `position`; O(1).
  void seek(DataPosition position);
  /// Rolls over into the next epoch by itself. Throws what gather() threw.
  const HostBatch& next();
  /// Time that next() has spent waiting or gathering so far.
  Nanoseconds waited() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Throws bad_input when the global batch is larger than the set, or there are more ranks than
/// rows.
void check_batch(const Dataset& dataset, std::uint64_t batch, int ranks);

}  // namespace muster
