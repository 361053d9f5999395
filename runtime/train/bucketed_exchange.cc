// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include <ATen/ops/empty_strided.h>

#include "runtime/base/error.h"
#include "runtime/train/arena.h"
#include "runtime/train/exchange.h"
#include "runtime/train/kernels.h"
#include "runtime/train/statistics.h"
#include "runtime/train/trailer.h"

namespace muster {
namespace {

class BucketedExchange final : public Exchange {
 public:
  BucketedExchange(const RankGroups& ranks, Arena& arena, const ExchangeOptions& options);

  GradientPool* pool() override { return nullptr; }
  void hold(std::size_t lane, double loss, const BatchStatistics* statistics) override;
  StepOutcome finish(const StepNote& note, const Update& update) override;
  BatchStatistics statistics(std::span<const std::uint64_t> samples) override;
  Nanoseconds waited() const override { return waited_; }
  SampleRange own_lanes() const override {
    return {static_cast<std::uint64_t>(ranks_.world.rank()), 1};
  }
  std::size_t lanes() const override { return static_cast<std::size_t>(ranks_.world.size()); }

 private:
  void all_reduce();
  void find_bad(StepOutcome& outcome);
  void apply(const Update& update, float factor);

  RankGroups ranks_;
  Arena& arena_;
  ExchangeOptions options_;
  Trailer trailer_;
  std::vector<Piece> pieces_;
  FlatMemory memory_;
  std::vector<float> gradients_;  // flat, as the arena, with the trailer behind
  std::vector<BatchStatistics> statistics_;
  double loss_ = 0;
  Nanoseconds waited_{0};
};

BucketedExchange::BucketedExchange(const RankGroups& ranks, Arena& arena,
                                   const ExchangeOptions& options)
    : ranks_(ranks),
      arena_(arena),
      options_(options),
      trailer_(static_cast<std::size_t>(ranks.world.size())),
      pieces_(pieces_of(arena.table(), {0, arena.table().capacity()})),
      gradients_(arena.table().capacity() + trailer_.length()) {
  memory_.parameters = arena.parameters().data();
  for (std::size_t slot = 0; slot < arena.state_slots(); ++slot) {
    memory_.slots.at(slot) = arena.state(slot).data();
  }
}

void BucketedExchange::hold(std::size_t /*lane*/, double loss, const BatchStatistics* statistics) {
  loss_ = loss;
  statistics_.assign(1, statistics != nullptr ? *statistics : BatchStatistics{});
  statistics_[0].values.resize(options_.statistics);
  const auto tensors = arena_.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const Segment& segment = arena_.table().segments()[i];
    float* into = gradients_.data() + segment.offset;
    at::Tensor& gradient = tensors[i].mutable_grad();
    if (!gradient.defined()) {
      std::memset(into, 0, segment.count * sizeof(float));
      continue;
    }
    at::Tensor same = gradient;
    if (gradient.strides() != tensors[i].strides()) {
      same = at::empty_strided(tensors[i].sizes(), tensors[i].strides(), tensors[i].options());
      same.copy_(gradient);
    }
    std::memcpy(into, same.const_data_ptr(), segment.count * sizeof(float));
    gradient.reset();
  }
}

void BucketedExchange::all_reduce() {
  const auto start = std::chrono::steady_clock::now();
  const std::size_t bucket = std::max<std::size_t>(1, options_.bucket_bytes / sizeof(float));
  std::vector<Work> works;
  for (std::size_t at = 0; at < gradients_.size(); at += bucket) {
    works.push_back(ranks_.world.all_reduce(
        buffer_of(gradients_.data() + at, std::min(bucket, gradients_.size() - at)),
        ReduceOp::sum));
  }
  for (Work& work : works) {
    work.wait();
  }
  waited_ += std::chrono::steady_clock::now() - start;
}

StepOutcome BucketedExchange::finish(const StepNote& note, const Update& update) {
  StepOutcome outcome;
  outcome.loss = loss_;
  outcome.stop = note.wants_stop;
  outcome.checkpoint = note.wants_checkpoint;
  outcome.busy_ns = {note.busy_ns};
  const std::span<float> trailer(gradients_.data() + arena_.table().capacity(), trailer_.length());
  trailer_.write(outcome, static_cast<std::size_t>(ranks_.world.rank()), trailer);
  all_reduce();
  trailer_.read(trailer, outcome);
  find_bad(outcome);
  float factor = 1;
  if (update.clip_norm() > 0) {
    outcome.gradient_norm =
        std::sqrt(kernels::sum_of_squares(gradients_.data(), arena_.table().capacity()));
    factor =
        static_cast<float>(std::min(1.0, update.clip_norm() / (*outcome.gradient_norm + 1e-6)));
  }
  outcome.skipped = outcome.not_finite.has_value();
  if (!outcome.skipped) {
    apply(update, factor);
  }
  return outcome;
}

void BucketedExchange::find_bad(StepOutcome& outcome) {
  if (!std::isfinite(outcome.loss)) {
    outcome.not_finite =
        StepOutcome::NotFinite{"the loss", std::isfinite(loss_) ? -1 : ranks_.world.rank()};
    return;
  }
  for (const Piece& piece : pieces_) {
    if (!kernels::all_finite(gradients_.data() + piece.range.begin, piece.range.count())) {
      outcome.not_finite =
          StepOutcome::NotFinite{arena_.table().segments()[piece.segment].name, -1};
      return;
    }
  }
}

void BucketedExchange::apply(const Update& update, float factor) {
  if (factor != 1.0F) {
    kernels::scale(gradients_.data(), factor, arena_.table().capacity());
  }
  for (const Piece& piece : pieces_) {
    update.apply(memory_, arena_.table().segments()[piece.segment], piece.range,
                 gradients_.data() + piece.range.begin);
  }
}

BatchStatistics BucketedExchange::statistics(std::span<const std::uint64_t> samples) {
  return mean_statistics(statistics_, samples, static_cast<std::size_t>(ranks_.world.rank()),
                         ranks_.world);
}

}  // namespace

std::unique_ptr<Exchange> make_bucketed_exchange(const RankGroups& ranks, Arena& arena,
                                                 const ExchangeOptions& options) {
  return std::make_unique<BucketedExchange>(ranks, arena, options);
}

}  // namespace muster
