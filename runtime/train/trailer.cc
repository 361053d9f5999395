// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/trailer.h"

#include <algorithm>

namespace muster {
namespace {

enum Field : std::size_t { loss_high, loss_low, stop, checkpoint, field_count };

}  // namespace

std::size_t Trailer::length() const {
  return (field_count + ranks_ + SegmentTable::line - 1) / SegmentTable::line * SegmentTable::line;
}

void Trailer::write(const StepOutcome& outcome, std::size_t first_rank,
                    std::span<float> into) const {
  std::fill(into.begin(), into.end(), 0.0F);
  // A double as two floats: nothing is lost here, and the sum is as good as float32 sums are.
  into[loss_high] = static_cast<float>(outcome.loss);
  into[loss_low] = static_cast<float>(outcome.loss - static_cast<double>(into[loss_high]));
  into[stop] = outcome.stop ? 1.0F : 0.0F;
  into[checkpoint] = outcome.checkpoint ? 1.0F : 0.0F;
  for (std::size_t i = 0; i < outcome.busy_ns.size(); ++i) {
    into[field_count + first_rank + i] = static_cast<float>(outcome.busy_ns[i]);
  }
}

void Trailer::read(std::span<const float> sum, StepOutcome& outcome) const {
  outcome.loss = static_cast<double>(sum[loss_high]) + static_cast<double>(sum[loss_low]);
  outcome.stop = sum[stop] > 0;
  outcome.checkpoint = sum[checkpoint] > 0;
  outcome.busy_ns.resize(ranks_);
  for (std::size_t i = 0; i < ranks_; ++i) {
    outcome.busy_ns[i] = static_cast<std::int64_t>(sum[field_count + i]);
  }
}

}  // namespace muster
