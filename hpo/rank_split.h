/// RankSplit: the best `k` of a growing collection, where k grows with it. Insertion in O(log n),
/// both sides of the cut in O(1). For rungs ("the best third") and quantiles. `Quota(n)` says how
/// many of n belong to the top, and never falls as n grows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <set>
#include <utility>

namespace muster::hpo {

template <class Item, class Less = std::less<Item>>
class RankSplit {
 public:
  using Quota = std::function<std::size_t(std::size_t)>;
  explicit RankSplit(Quota quota) : quota_(std::move(quota)) {}

  /// `entered(item)` for each item that joins the top, `left(item)` for the one that is pushed out
  /// of it.
  template <class Entered, class Left>
  void insert(const Item& item, Entered&& entered, Left&& left) {
    rest_.insert(item);
    if (!top_.empty() && Less{}(item, *top_.rbegin())) {
      raise(entered);
      auto last = std::prev(top_.end());
      left(*last);
      rest_.insert(top_.extract(last));
    }
    while (top_.size() < quota_(size())) {
      raise(entered);
    }
  }
  void insert(const Item& item) {
    insert(
        item, [](const Item&) {}, [](const Item&) {});
  }

  /// Would `item` be in the top once inserted?
  bool would_enter(const Item& item) const {
    const std::size_t quota = quota_(size() + 1);
    if (quota > top_.size()) {
      return rest_.empty() || Less{}(item, *rest_.begin()) || quota > top_.size() + 1;
    }
    return !top_.empty() && Less{}(item, *top_.rbegin());
  }

  std::size_t size() const { return top_.size() + rest_.size(); }
  const std::set<Item, Less>& top() const { return top_; }
  const std::set<Item, Less>& rest() const { return rest_; }

 private:
  template <class Entered>
  void raise(Entered&& entered) {
    auto node = rest_.extract(rest_.begin());
    entered(node.value());
    top_.insert(std::move(node));
  }

  Quota quota_;
  std::set<Item, Less> top_;
  std::set<Item, Less> rest_;
};

}  // namespace muster::hpo
