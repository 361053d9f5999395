/// Update: what one step does to the parameters, with every scalar worked out. Applied range by
/// range, it does the same bits in any cut. OptimizerRule says which optimiser; its state lies in
/// slots beside the parameters (see slot_names), zero at the start.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/train/segments.h"

namespace muster {

struct OptimizerRule {
  enum class Kind { sgd, adam, adamw };
  Kind kind = Kind::sgd;
  double momentum = 0;
  bool nesterov = false;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  double ema = 0;        ///< decay of the moving average of the parameters; 0: none
  double clip_norm = 0;  ///< 0: no clipping

  /// "momentum", "first", "second", "average": what the slots hold, in order.
  std::vector<std::string> slot_names() const;
};

/// The arena as plain floats.
struct FlatMemory {
  static constexpr std::size_t most_slots = 3;
  float* parameters = nullptr;
  std::array<float*, most_slots> slots{};
};

class Update {
 public:
  /// `number`: 1 for the first update of the run; skipped steps do not count.
  Update(const OptimizerRule& rule, double rate, std::uint64_t number)
      : rule_(rule), rate_(rate), number_(number) {}

  /// `gradients` holds the range's gradients, the range lies in `segment`.
  void apply(const FlatMemory& memory, const Segment& segment, Range range,
             const float* gradients) const;
  double clip_norm() const { return rule_.clip_norm; }

 private:
  OptimizerRule rule_;
  double rate_;
  std::uint64_t number_;
};

/// A part of a shard that lies in one segment. Frozen segments have none.
struct Piece {
  std::size_t segment = 0;
  Range range;
};
std::vector<Piece> pieces_of(const SegmentTable& table, Range shard);

/// The moving average's decay: short at first, so that the start is forgotten, (1 + t) / (10 + t)
/// up to `decay`.
double ema_keep(double decay, std::uint64_t number);

}  // namespace muster
