// SPDX-License-Identifier: Apache-2.0
#include "hpo/history.h"

#include <bit>
#include <utility>

namespace muster::hpo {
namespace {

struct Place {
  std::size_t block;
  std::size_t offset;
};

Place place_of(std::size_t position, std::size_t first) {
  const std::size_t shifted = position + first;
  const auto block = static_cast<std::size_t>(std::bit_width(shifted / first)) - 1;
  return {block, shifted - (first << block)};
}

}  // namespace

const Observation& History::operator[](std::size_t position) const {
  const Place place = place_of(position, first);
  return blocks_[place.block][place.offset];
}

void History::append(Observation observation) {
  const std::size_t count = size_.load(std::memory_order_relaxed);
  const Place place = place_of(count, first);
  if (!blocks_[place.block]) {
    blocks_[place.block] = std::make_unique<Observation[]>(first << place.block);
  }
  blocks_[place.block][place.offset] = std::move(observation);
  size_.store(count + 1, std::memory_order_release);
}

}  // namespace muster::hpo
