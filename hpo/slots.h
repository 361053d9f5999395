/// Slots: places for trials, numbered from 0. A lease is a move-only value that gives its slots
/// back when it dies. One thread's. Slots must outlive its leases.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace muster::hpo {

class Slots;

class SlotLease {
 public:
  SlotLease() = default;
  SlotLease(SlotLease&& other) noexcept
      : owner_(std::exchange(other.owner_, nullptr)), numbers_(std::move(other.numbers_)) {}
  SlotLease& operator=(SlotLease&& other) noexcept;
  SlotLease(const SlotLease&) = delete;
  SlotLease& operator=(const SlotLease&) = delete;
  ~SlotLease() { give_back(); }

  void give_back() noexcept;
  const std::vector<std::size_t>& numbers() const { return numbers_; }  ///< lowest first
  explicit operator bool() const { return owner_ != nullptr; }

 private:
  friend class Slots;
  SlotLease(Slots& owner, std::vector<std::size_t> numbers)
      : owner_(&owner), numbers_(std::move(numbers)) {}
  Slots* owner_ = nullptr;
  std::vector<std::size_t> numbers_;
};

class Slots {
 public:
  explicit Slots(std::size_t count = 0) { resize(count); }
  Slots(const Slots&) = delete;
  Slots& operator=(const Slots&) = delete;

  /// The lowest free ones; nothing when fewer than `shares` are free. A trial of k ranks takes k
  /// shares.
  std::optional<SlotLease> try_lease(std::size_t shares = 1);
  /// That very one. Nothing when it is not free.
  std::optional<SlotLease> try_lease_of(std::size_t number);
  bool is_free(std::size_t number) const { return free_.contains(number); }
  /// More slots are free at once; fewer: leased ones beyond the end vanish when they come back.
  void resize(std::size_t count);
  /// One slot joins or leaves by number, for workers with numbers of their own.
  void add(std::size_t number);
  void remove(std::size_t number);

  std::size_t count() const { return present_.size(); }
  std::size_t free() const { return free_.size(); }
  std::size_t leased() const { return leased_; }

 private:
  friend class SlotLease;
  void take_back(const std::vector<std::size_t>& numbers) noexcept;
  std::set<std::size_t> present_;
  std::set<std::size_t> free_;
  std::set<std::size_t> out_;
  std::size_t leased_ = 0;
};

}  // namespace muster::hpo
