/// Exchange: ends a step: sums the gradients of all lanes, updates the parameters, and lets the
/// ranks agree, all in one. Every rank calls finish() once a step, with or without samples of its
/// own. Errors are the same on every rank, or abort the others.
///
/// fused     one machine: barrier; rank r sums range r over all lanes and updates range r in the
/// same pass; barrier. With clipping or
///           on_nan = skip a third barrier lies between sum and update. Several machines: equal
///           local ranks reduce-scatter and all-gather their range between the barriers, and what
///           the ranks tell each other rides along.
/// bucketed  every rank has its own parameters, all-reduces the gradients in buckets and updates
/// everything itself.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/comm/node_group.h"
#include "runtime/data/order.h"
#include "runtime/train/update.h"

namespace muster {

class Arena;
class GradientPool;
struct BatchStatistics;

/// What one rank brings to the end of a step, besides its gradients.
struct StepNote {
  std::int64_t busy_ns = 0;  ///< waiting for data and computing
  bool wants_stop = false;
  bool wants_checkpoint = false;
};

/// What all ranks know after it, equal on all.
struct StepOutcome {
  double loss = 0;                      ///< of the whole batch
  std::optional<double> gradient_norm;  ///< where it was needed
  bool stop = false;
  bool checkpoint = false;
  bool skipped = false;  ///< nothing was updated
  struct NotFinite {
    std::string where;  ///< "the loss", or the parameter
    int rank = -1;      ///< whose loss; -1 for gradients, which are sums
  };
  std::optional<NotFinite> not_finite;
  std::vector<std::int64_t> busy_ns;  ///< of every rank
};

enum class OnNan { stop, skip };

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual GradientPool* pool() = 0;  ///< null: gradients may lie anywhere
  /// Takes what backward left in the parameters as the gradients of `lane`, with its loss and
  /// statistics.
  virtual void hold(std::size_t lane, double loss, const BatchStatistics* statistics) = 0;
  virtual StepOutcome finish(const StepNote& note, const Update& update) = 0;
  /// After finish(): the mean of the statistics of all lanes, weighted by `samples` (one for each
  /// lane). Collective.
  virtual BatchStatistics statistics(std::span<const std::uint64_t> samples) = 0;
  /// Time spent in finish() waiting for other ranks, so far.
  virtual Nanoseconds waited() const = 0;
  /// Which lanes of all this rank computes.
  virtual SampleRange own_lanes() const = 0;
  virtual std::size_t lanes() const = 0;
};

/// Who takes part. References must outlive the exchange.
struct RankGroups {
  NodeGroup& node;       ///< this machine's
  Communicator& across;  ///< the ranks of all machines with this one's local rank; a group of one
                         ///< on one machine
  Communicator& world;   ///< all
};

struct ExchangeOptions {
  std::size_t strict_lanes =
      0;  ///< V of strict mode; 0: a lane for each rank, summed in rank order
  OnNan on_nan = OnNan::stop;
  std::size_t bucket_bytes = std::size_t{25} << 20;  ///< bucketed
  std::size_t statistics = 0;                        ///< floats of batch normalisation's statistics
};

std::unique_ptr<Exchange> make_fused_exchange(const RankGroups& ranks, Arena& arena,
                                              const ExchangeOptions& options);
/// The arena is the rank's own (made with a group of one).
std::unique_ptr<Exchange> make_bucketed_exchange(const RankGroups& ranks, Arena& arena,
                                                 const ExchangeOptions& options);

}  // namespace muster
