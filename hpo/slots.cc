// SPDX-License-Identifier: Apache-2.0
#include "hpo/slots.h"

namespace muster::hpo {

SlotLease& SlotLease::operator=(SlotLease&& other) noexcept {
  if (this != &other) {
    give_back();
    owner_ = std::exchange(other.owner_, nullptr);
    numbers_ = std::move(other.numbers_);
  }
  return *this;
}

void SlotLease::give_back() noexcept {
  if (Slots* owner = std::exchange(owner_, nullptr)) {
    owner->take_back(numbers_);
  }
}

std::optional<SlotLease> Slots::try_lease(std::size_t shares) {
  if (shares == 0 || free_.size() < shares) {
    return std::nullopt;
  }
  std::vector<std::size_t> numbers;
  while (numbers.size() < shares) {
    numbers.push_back(*free_.begin());
    out_.insert(free_.extract(free_.begin()));
  }
  leased_ += shares;
  return SlotLease(*this, std::move(numbers));
}

std::optional<SlotLease> Slots::try_lease_of(std::size_t number) {
  if (!is_free(number)) {
    return std::nullopt;
  }
  out_.insert(free_.extract(number));
  ++leased_;
  return SlotLease(*this, {number});
}

void Slots::resize(std::size_t count) {
  while (!present_.empty() && *present_.rbegin() >= count) {
    remove(*present_.rbegin());
  }
  for (std::size_t number = 0; number < count; ++number) {
    add(number);
  }
}

void Slots::add(std::size_t number) {
  if (present_.insert(number).second && !out_.contains(number)) {
    free_.insert(number);
  }
}

void Slots::remove(std::size_t number) {
  present_.erase(number);
  free_.erase(number);
}

void Slots::take_back(const std::vector<std::size_t>& numbers) noexcept {
  for (const std::size_t number : numbers) {
    auto node = out_.extract(number);
    if (present_.contains(number)) {
      free_.insert(std::move(node));
    }
  }
  leased_ -= numbers.size();
}

}  // namespace muster::hpo
