// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/update.h"

#include <algorithm>
#include <cmath>

#include "runtime/train/kernels.h"

namespace muster {
namespace {

kernels::Adam adam_rule(const OptimizerRule& rule, double rate, double decay,
                        std::uint64_t number) {
  const auto t = static_cast<double>(number);
  const bool decoupled = rule.kind == OptimizerRule::Kind::adamw;
  return kernels::Adam{
      .rate = static_cast<float>(rate / (1.0 - std::pow(rule.beta1, t))),
      .beta1 = static_cast<float>(rule.beta1),
      .beta2 = static_cast<float>(rule.beta2),
      .root_correction = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(rule.beta2, t))),
      .epsilon = static_cast<float>(rule.epsilon),
      .decay = decoupled ? 0.0F : static_cast<float>(decay),
      .keep = decoupled ? static_cast<float>(1.0 - rate * decay) : 1.0F};
}

}  // namespace

std::vector<std::string> OptimizerRule::slot_names() const {
  std::vector<std::string> names;
  if (kind != Kind::sgd) {
    names = {"first", "second"};
  } else if (momentum != 0) {
    names = {"momentum"};
  }
  if (ema > 0) {
    names.emplace_back("average");
  }
  return names;
}

double ema_keep(double decay, std::uint64_t number) {
  const auto t = static_cast<double>(number);
  return std::min(decay, (1.0 + t) / (10.0 + t));
}

void Update::apply(const FlatMemory& memory, const Segment& segment, Range range,
                   const float* gradients) const {
  const std::size_t at = range.begin;
  const double rate = rate_ * static_cast<double>(segment.rate_factor);
  const double decay = segment.decays ? rule_.weight_decay : 0.0;
  std::size_t slots = 0;
  if (rule_.kind == OptimizerRule::Kind::sgd) {
    slots = rule_.momentum != 0 ? 1 : 0;
    kernels::sgd(memory.parameters + at, slots == 0 ? nullptr : memory.slots[0] + at, gradients,
                 range.count(),
                 {static_cast<float>(rate), static_cast<float>(rule_.momentum),
                  static_cast<float>(decay), rule_.nesterov});
  } else {
    slots = 2;
    kernels::adam(memory.parameters + at, memory.slots[0] + at, memory.slots[1] + at, gradients,
                  range.count(), adam_rule(rule_, rate, decay, number_));
  }
  if (rule_.ema > 0) {
    kernels::average(memory.slots[slots] + at, memory.parameters + at,
                     static_cast<float>(ema_keep(rule_.ema, number_)), range.count());
  }
}

std::vector<Piece> pieces_of(const SegmentTable& table, Range shard) {
  std::vector<Piece> pieces;
  const auto& segments = table.segments();
  for (std::size_t i = 0; i < segments.size(); ++i) {
    const Range range{std::max(shard.begin, segments[i].offset),
                      std::min(shard.end, segments[i].offset + segments[i].count)};
    if (range.begin < range.end && !segments[i].frozen) {
      pieces.push_back({i, range});
    }
  }
  return pieces;
}

}  // namespace muster
