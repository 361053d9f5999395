// SPDX-License-Identifier: Apache-2.0
#include "launcher/supervise/roster.h"

#include <algorithm>

namespace muster {
namespace {

int slots_of(const Host& host) {
  return std::max(host.slots, 1);
}

/// "node7" and "node7.cluster.example" are one host.
std::string short_name(const std::string& host) {
  return host.substr(0, host.find('.'));
}

}  // namespace

Roster::Roster(std::vector<Host> hosts, int ranks, int min_ranks)
    : hosts_(std::move(hosts)), ranks_(ranks), min_ranks_(min_ranks) {
  const int slots = places();
  if (slots > 0) {
    crowding_ = std::max(1, (ranks + slots - 1) / slots);
  }
}

int Roster::places() const {
  int slots = 0;
  for (const auto& host : hosts_) {
    const bool out = std::ranges::find(left_out_, host.name) != left_out_.end();
    slots += out ? 0 : slots_of(host);
  }
  return slots * crowding_;
}

bool Roster::leave_out(const std::string& host) {
  const auto same = std::ranges::find_if(
      hosts_, [&](const Host& one) { return short_name(one.name) == short_name(host); });
  if (same == hosts_.end() || std::ranges::find(left_out_, same->name) != left_out_.end()) {
    return false;
  }
  left_out_.push_back(same->name);
  return true;
}

std::optional<int> Roster::ranks() const {
  if (hosts_.empty() || places() >= ranks_) {
    return ranks_;
  }
  return min_ranks_ > 0 && places() >= min_ranks_ ? std::optional(places()) : std::nullopt;
}

}  // namespace muster
