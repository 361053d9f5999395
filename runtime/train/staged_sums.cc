// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/staged_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace muster {

StagedSums::StagedSums(const SegmentTable& table, std::size_t local_rank, Communicator& across,
                       std::size_t ranks)
    : table_(table),
      across_(across),
      machines_(static_cast<std::size_t>(across.size())),
      trailer_(ranks) {
  const std::size_t first = local_rank * machines_;
  local_ = {table.shard(first).begin, table.shard(first + machines_ - 1).end};
  own_ = table.shard(first + static_cast<std::size_t>(across.rank()));
  pieces_ = pieces_of(table, local_);
}

std::size_t StagedSums::place_of(std::size_t element) const {
  const std::size_t at = element - local_.begin;
  return at / own_.count() * part_length() + at % own_.count();
}

void StagedSums::sum_lanes(const std::function<bool(std::size_t segment)>& select, LaneSums& sums,
                           std::size_t chunk) {
  staged_.resize(part_length() * machines_);
  for (const Piece& piece : pieces_) {
    const bool any = select(piece.segment);
    const std::size_t start = table_.segments()[piece.segment].offset;
    std::size_t count = 0;
    for (std::size_t at = piece.range.begin; at < piece.range.end; at += count) {
      const std::size_t part_end =
          local_.begin + ((at - local_.begin) / own_.count() + 1) * own_.count();
      count = std::min({chunk, piece.range.end - at, part_end - at});
      float* into = staged_.data() + place_of(at);
      if (any) {
        sums.sum(at - start, count, into);
      } else {
        std::memset(into, 0, count * sizeof(float));
      }
    }
  }
  if (machines_ == 1) {
    landed_.swap(staged_);
  }
}

void StagedSums::meet(StepOutcome& outcome, std::size_t first_rank) {
  for (std::size_t part = 0; part < machines_; ++part) {
    trailer_.write(outcome, first_rank,
                   {staged_.data() + part * part_length() + own_.count(), trailer_.length()});
  }
  landed_.resize(part_length());
  across_
      .reduce_scatter(buffer_of(staged_.data(), staged_.size()),
                      buffer_of(landed_.data(), landed_.size()), ReduceOp::sum)
      .wait();
  trailer_.read({landed_.data() + own_.count(), trailer_.length()}, outcome);
  if (!std::isfinite(outcome.loss) && !outcome.not_finite) {
    outcome.not_finite = StepOutcome::NotFinite{"the loss", -1};
  }
}

}  // namespace muster
