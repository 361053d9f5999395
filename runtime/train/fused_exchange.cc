// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>

#include "runtime/base/error.h"
#include "runtime/train/arena.h"
#include "runtime/train/exchange.h"
#include "runtime/train/gradients.h"
#include "runtime/train/kernels.h"
#include "runtime/train/lane_sums.h"
#include "runtime/train/staged_sums.h"
#include "runtime/train/statistics.h"
#include "runtime/train/step_board.h"

namespace muster {
namespace {

constexpr std::size_t chunk =
    2048;  // floats that stay in the first-level cache between sum and update
constexpr std::size_t norm_block = 4096;  // floats under one sum of squares in strict mode

std::vector<std::size_t> owners_of(std::size_t lanes, std::size_t ranks) {
  std::vector<std::size_t> owners(lanes);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    const SampleRange own = shards_of(rank, ranks, lanes);
    std::fill_n(owners.begin() + static_cast<std::ptrdiff_t>(own.first), own.count, rank);
  }
  return owners;
}

class FusedExchange final : public Exchange {
 public:
  FusedExchange(const RankGroups& ranks, Arena& arena, const ExchangeOptions& options);

  GradientPool* pool() override { return &gradients_.pool(); }
  void hold(std::size_t lane, double loss, const BatchStatistics* statistics) override;
  StepOutcome finish(const StepNote& note, const Update& update) override;
  BatchStatistics statistics(std::span<const std::uint64_t> samples) override;
  Nanoseconds waited() const override { return ranks_.node.waited(); }
  SampleRange own_lanes() const override { return {first_lane() + own_.first, own_.count}; }
  std::size_t lanes() const override { return lanes_ * nodes_; }

 private:
  bool is_strict() const { return options_.strict_lanes > 0; }
  std::uint64_t first_lane() const {
    return lanes_ * static_cast<std::uint64_t>(ranks_.across.rank());
  }
  StepBoard::RankNote& mine() { return board_.note(ranks_.node.rank()); }

  StepOutcome read_board();
  void update_in_one_pass(const Update& update);
  void update_in_two_passes(const Update& update, StepOutcome& outcome);
  double norm_of_all();
  void apply_landed(const Update& update, float factor);
  void name_bad_gradient(StepOutcome& outcome);
  bool select(std::size_t segment);
  void check(const float* gradients, std::size_t count, std::size_t segment);

  RankGroups ranks_;
  Arena& arena_;
  ExchangeOptions options_;
  std::size_t nodes_;
  std::size_t lanes_;                // of this machine
  SampleRange own_;                  // of them, this rank's
  std::vector<std::size_t> owners_;  // local rank of each
  Gradients gradients_;
  StepBoard board_;
  LaneSums lane_sums_;
  StagedSums staged_;
  Range shard_;  // what this rank updates
  std::vector<Piece> pieces_;
  FlatMemory memory_;
  std::vector<const float*> lane_sources_;
  std::vector<BatchStatistics> lane_statistics_;
};

FlatMemory flat(Arena& arena) {
  FlatMemory memory{.parameters = arena.parameters().data()};
  for (std::size_t slot = 0; slot < arena.state_slots(); ++slot) {
    memory.slots.at(slot) = arena.state(slot).data();
  }
  return memory;
}

FusedExchange::FusedExchange(const RankGroups& ranks, Arena& arena, const ExchangeOptions& options)
    : ranks_(ranks),
      arena_(arena),
      options_(options),
      nodes_(static_cast<std::size_t>(ranks.across.size())),
      lanes_(options.strict_lanes > 0 ? options.strict_lanes
                                      : static_cast<std::size_t>(ranks.node.size())),
      own_(shards_of(static_cast<std::uint64_t>(ranks.node.rank()),
                     static_cast<std::uint64_t>(ranks.node.size()), lanes_)),
      owners_(owners_of(lanes_, static_cast<std::size_t>(ranks.node.size()))),
      // Rank 0 has the most lanes; all windows are that large.
      gradients_(ranks.node, arena,
                 shards_of(0, static_cast<std::uint64_t>(ranks.node.size()), lanes_).count),
      board_(ranks.node, {.lanes = lanes_,
                          .segments = arena.table().segments().size(),
                          .statistics = options.statistics,
                          .sums = std::max(arena.table().capacity() / norm_block,
                                           static_cast<std::size_t>(ranks.node.size()))}),
      lane_sums_(chunk, options.strict_lanes > 0),
      staged_(arena.table(), static_cast<std::size_t>(ranks.node.rank()), ranks.across,
              static_cast<std::size_t>(ranks.world.size())),
      shard_(staged_.own_range()),
      pieces_(pieces_of(arena.table(), shard_)),
      memory_(flat(arena)),
      lane_sources_(lanes_) {
  require(arena.table().parts() == nodes_ * static_cast<std::size_t>(ranks.node.size()),
          "the arena has a shard for each rank");
  require(!is_strict() || nodes_ == 1, "strict training stays on one machine");
}

void FusedExchange::hold(std::size_t lane, double loss, const BatchStatistics* statistics) {
  const std::size_t local = lane - first_lane();
  gradients_.hold(board_, local);
  board_.loss(local) = loss;
  if (statistics != nullptr && !statistics->values.empty()) {
    require(statistics->values.size() == board_.shape().statistics,
            "the board has room for the batch statistics");
    std::copy(statistics->values.begin(), statistics->values.end(),
              board_.statistics(local).begin());
  }
}

StepOutcome FusedExchange::finish(const StepNote& note, const Update& update) {
  mine().busy_ns = note.busy_ns;
  mine().wants_stop = note.wants_stop ? 1 : 0;
  mine().wants_checkpoint = note.wants_checkpoint ? 1 : 0;
  ranks_.node.barrier();
  StepOutcome outcome = read_board();
  mine().bad_segment = -1;
  if (nodes_ > 1 || update.clip_norm() > 0 || options_.on_nan == OnNan::skip) {
    update_in_two_passes(update, outcome);
  } else if (std::isfinite(outcome.loss)) {
    update_in_one_pass(update);
  }
  ranks_.node.barrier();
  outcome.skipped = outcome.skipped || !std::isfinite(outcome.loss);
  name_bad_gradient(outcome);
  gradients_.release();
  return outcome;
}

StepOutcome FusedExchange::read_board() {
  StepOutcome outcome;
  outcome.loss = is_strict() ? kernels::tree_sum(board_.losses()) : sum_in_order(board_.losses());
  for (int rank = 0; rank < ranks_.node.size(); ++rank) {
    const StepBoard::RankNote& note = board_.note(rank);
    outcome.busy_ns.push_back(note.busy_ns);
    outcome.stop = outcome.stop || note.wants_stop != 0;
    outcome.checkpoint = outcome.checkpoint || note.wants_checkpoint != 0;
  }
  for (std::size_t lane = 0; lane < lanes_ && !outcome.not_finite; ++lane) {
    if (!std::isfinite(board_.loss(lane))) {
      const int rank = static_cast<int>(owners_[lane]) + ranks_.across.rank() * ranks_.node.size();
      outcome.not_finite = StepOutcome::NotFinite{"the loss", rank};
    }
  }
  lane_statistics_.clear();
  for (std::size_t lane = 0; lane < lanes_ && board_.shape().statistics > 0; ++lane) {
    const auto values = board_.statistics(lane);
    lane_statistics_.push_back({{values.begin(), values.end()}});
  }
  return outcome;
}

bool FusedExchange::select(std::size_t segment) {
  for (std::size_t lane = 0; lane < lanes_; ++lane) {
    lane_sources_[lane] = gradients_.at(board_, lane, owners_[lane], segment);
  }
  return lane_sums_.select(lane_sources_);
}

void FusedExchange::check(const float* gradients, std::size_t count, std::size_t segment) {
  if (mine().bad_segment < 0 && !kernels::all_finite(gradients, count)) {
    mine().bad_segment = static_cast<std::int64_t>(segment);
  }
}

void FusedExchange::update_in_one_pass(const Update& update) {
  alignas(64) std::array<float, chunk>
      sum;  // NOLINT(cppcoreguidelines-pro-type-member-init): written before it is read
  for (const Piece& piece : pieces_) {
    if (!select(piece.segment)) {
      continue;
    }
    const Segment& segment = arena_.table().segments()[piece.segment];
    for (std::size_t at = piece.range.begin; at < piece.range.end; at += chunk) {
      const std::size_t count = std::min(chunk, piece.range.end - at);
      lane_sums_.sum(at - segment.offset, count, sum.data());
      check(sum.data(), count, piece.segment);
      update.apply(memory_, segment, {at, at + count}, sum.data());
    }
  }
}

void FusedExchange::update_in_two_passes(const Update& update, StepOutcome& outcome) {
  staged_.sum_lanes([this](std::size_t segment) { return select(segment); }, lane_sums_, chunk);
  if (nodes_ > 1) {
    staged_.meet(outcome, static_cast<std::size_t>(ranks_.across.rank() * ranks_.node.size()));
  }
  for (const Piece& piece : pieces_) {
    check(staged_.own() + (piece.range.begin - shard_.begin), piece.range.count(), piece.segment);
  }
  float factor = 1;
  bool is_finite = std::isfinite(outcome.loss);
  if (update.clip_norm() > 0 || options_.on_nan == OnNan::skip) {
    const double norm = norm_of_all();
    is_finite = is_finite && std::isfinite(norm);
    outcome.gradient_norm = norm;
    factor = update.clip_norm() > 0
                 ? static_cast<float>(std::min(1.0, update.clip_norm() / (norm + 1e-6)))
                 : 1.0F;
  }
  outcome.skipped = !is_finite;
  if (is_finite) {
    apply_landed(update, factor);
  }
  if (nodes_ > 1) {
    auto parameters = arena_.parameters();
    const Range local = staged_.local_range();
    ranks_.across
        .all_gather(buffer_of(parameters.data() + shard_.begin, shard_.count()),
                    buffer_of(parameters.data() + local.begin, local.count()))
        .wait();
  }
}

double FusedExchange::norm_of_all() {
  auto sums = board_.sums();
  const auto rank = static_cast<std::size_t>(ranks_.node.rank());
  const auto ranks = static_cast<std::size_t>(ranks_.node.size());
  if (is_strict()) {
    for (std::size_t at = 0; at < shard_.count(); at += norm_block) {
      sums[(shard_.begin + at) / norm_block] =
          kernels::sum_of_squares(staged_.own() + at, norm_block);
    }
    ranks_.node.barrier();
    return std::sqrt(kernels::tree_sum(sums.first(arena_.table().capacity() / norm_block)));
  }
  sums[rank] = kernels::sum_of_squares(staged_.own(), shard_.count());
  if (nodes_ > 1) {
    ranks_.across.all_reduce(buffer_of(&sums[rank], 1), ReduceOp::sum).wait();
  }
  ranks_.node.barrier();
  return std::sqrt(sum_in_order(sums.first(ranks)));
}

void FusedExchange::apply_landed(const Update& update, float factor) {
  for (const Piece& piece : pieces_) {
    if (nodes_ == 1 && !select(piece.segment)) {
      continue;  // no lane has a gradient: neither momentum nor decay moves it
    }
    const Segment& segment = arena_.table().segments()[piece.segment];
    for (std::size_t at = piece.range.begin; at < piece.range.end; at += chunk) {
      const std::size_t count = std::min(chunk, piece.range.end - at);
      float* gradients = staged_.own() + (at - shard_.begin);
      if (factor != 1.0F) {
        kernels::scale(gradients, factor, count);
      }
      update.apply(memory_, segment, {at, at + count}, gradients);
    }
  }
}

// Between the closing barrier and the next step's first, the notes' `bad_segment` stands still.
// Each machine has looked at its own part: where all know that something is wrong, they ask each
// other.
void FusedExchange::name_bad_gradient(StepOutcome& outcome) {
  const auto none = static_cast<std::int64_t>(arena_.table().segments().size());
  std::int64_t first = none;
  for (int rank = 0; rank < ranks_.node.size(); ++rank) {
    const std::int64_t bad = board_.note(rank).bad_segment;
    first = bad >= 0 ? std::min(first, bad) : first;
  }
  if (nodes_ > 1 && outcome.skipped) {
    ranks_.across.all_reduce(buffer_of(&first, 1), ReduceOp::min).wait();
  }
  if (first < none && !outcome.not_finite) {
    outcome.not_finite =
        StepOutcome::NotFinite{arena_.table().segments()[static_cast<std::size_t>(first)].name, -1};
  }
}

BatchStatistics FusedExchange::statistics(std::span<const std::uint64_t> samples) {
  return mean_statistics(lane_statistics_, samples, static_cast<std::size_t>(first_lane()),
                         ranks_.across);
}

}  // namespace

std::unique_ptr<Exchange> make_fused_exchange(const RankGroups& ranks, Arena& arena,
                                              const ExchangeOptions& options) {
  return std::make_unique<FusedExchange>(ranks, arena, options);
}

}  // namespace muster
