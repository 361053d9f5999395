// SPDX-License-Identifier: Apache-2.0
#include "hpo/asha.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/error.h"

namespace muster::hpo {
namespace {

constexpr double straight_from = 0.5;  // of the budget, where there is a late share

}  // namespace

Asha::Asha(const SchedulerOptions& options)
    : options_(options),
      levels_(rungs_between(options.min_resource, options.max_resource, options.eta)) {
  for (std::size_t k = 0; k < levels_.size(); ++k) {
    rungs_.push_back(Rung{RankSplit<Entry>([eta = options.eta](std::size_t n) {
                            return static_cast<std::size_t>(static_cast<double>(n) / eta);
                          }),
                          {}});
  }
  const std::size_t brackets = std::max<std::size_t>(options.brackets, 1);
  require(brackets <= levels_.size(), "more brackets than rungs");
  for (std::size_t b = 0; b < brackets; ++b) {  // Hyperband's shares: equal budgets
    const auto rungs_left = static_cast<double>(levels_.size() - b);
    bracket_weights_.push_back(std::pow(options.eta, rungs_left - 1.0) / rungs_left);
  }
  bracket_starts_.resize(brackets);
}

Offer Asha::offer(const Budget& budget) const {
  if (options_.resumes) {
    for (std::size_t k = rungs_.size(); k-- > 0;) {
      if (!rungs_[k].promotable.empty()) {
        return {.kind = Offer::Kind::resume,
                .trial = rungs_[k].promotable.begin()->trial,
                .to = levels_[k + 1]};
      }
    }
  }
  if (!budget.may_start) {
    return {.kind = Offer::Kind::wait};
  }
  const std::uint32_t bracket = fresh_bracket(budget);
  return {.kind = Offer::Kind::fresh, .bracket = bracket, .to = levels_[bracket]};
}

std::uint32_t Asha::fresh_bracket(const Budget& budget) const {
  std::size_t starts = straight_starts_;
  for (const std::size_t n : bracket_starts_) {
    starts += n;
  }
  if (options_.late_share > 0.0 && budget.spent >= straight_from) {
    return static_cast<std::uint32_t>(levels_.size() - 1);
  }
  // The share rises from 0 to late_share over the budget: up to now its mean was half of where it
  // stands.
  const double straight_due =
      0.5 * options_.late_share * budget.spent * static_cast<double>(starts + 1);
  if (static_cast<double>(straight_starts_ + 1) <= straight_due) {
    return static_cast<std::uint32_t>(levels_.size() - 1);
  }
  std::size_t best = 0;
  for (std::size_t b = 1; b < bracket_weights_.size(); ++b) {
    const auto load = [this](std::size_t i) {
      return static_cast<double>(bracket_starts_[i] + 1) / bracket_weights_[i];
    };
    if (load(b) < load(best)) {
      best = b;
    }
  }
  return static_cast<std::uint32_t>(best);
}

std::optional<std::size_t> Asha::rung_reached(const Place& place, double resource) const {
  if (place.next >= levels_.size() || resource < levels_[place.next]) {
    return std::nullopt;
  }
  const auto above = std::upper_bound(levels_.begin(), levels_.end(), resource);
  return static_cast<std::size_t>(above - levels_.begin()) - 1;
}

bool Asha::goes_on(std::size_t rung, const Entry& entry) const {
  const Rung& here = rungs_[rung];
  if (!options_.resumes) {
    return static_cast<double>(here.entries.size() + 1) < options_.eta ||
           here.entries.would_enter(entry);
  }
  // In place of pausing: it would be the very next to be promoted.
  for (std::size_t k = rung + 1; k < rungs_.size(); ++k) {
    if (!rungs_[k].promotable.empty()) {
      return false;
    }
  }
  return here.entries.would_enter(entry) &&
         (here.promotable.empty() || entry < *here.promotable.begin());
}

Verdict Asha::judge(TrialId trial, double resource, double loss) const {
  const Place& place = places_.at(trial);
  const std::optional<std::size_t> rung = rung_reached(place, resource);
  if (!rung) {
    return {.decision = Decision::keep_going,
            .to = levels_[std::min(place.next, levels_.size() - 1)]};
  }
  if (*rung + 1 == levels_.size()) {
    return {.decision = Decision::complete};
  }
  if (goes_on(*rung, Entry{loss, trial})) {
    return {.decision = Decision::keep_going, .to = levels_[*rung + 1]};
  }
  return {.decision = options_.resumes ? Decision::pause : Decision::stop};
}

void Asha::start(TrialId trial, std::uint32_t bracket, double to) {
  const auto [found, is_new] = places_.try_emplace(trial);
  Place& place = found->second;
  if (is_new) {
    (bracket < bracket_starts_.size() ? bracket_starts_[bracket] : straight_starts_) += 1;
  }
  unpause(place);
  const auto rung = std::lower_bound(levels_.begin(), levels_.end(), to);
  place.next = static_cast<std::size_t>(rung - levels_.begin());
}

void Asha::record(TrialId trial, double resource, double loss, const Verdict& verdict) {
  const auto found = places_.find(trial);
  require(found != places_.end(), "a report of a trial that the scheduler never started");
  Place& place = found->second;
  if (const std::optional<std::size_t> rung = rung_reached(place, resource)) {
    Rung& here = rungs_[*rung];
    const Entry entry{loss, trial};
    place.next = *rung + 1;
    if (verdict.decision == Decision::pause) {
      place.paused = entry;
    }
    here.entries.insert(
        entry,
        [&](const Entry& entered) {
          const auto other = places_.find(entered.trial);
          if (other != places_.end() && other->second.paused && other->second.next == *rung + 1) {
            here.promotable.insert(entered);
          }
        },
        [&](const Entry& left) { here.promotable.erase(left); });
  }
  if (verdict.decision == Decision::stop || verdict.decision == Decision::complete) {
    places_.erase(found);
  }
}

void Asha::end(TrialId trial, TrialState /*state*/) {
  if (const auto found = places_.find(trial); found != places_.end()) {
    unpause(found->second);
    places_.erase(found);
  }
}

void Asha::unpause(Place& place) {
  if (place.paused) {
    rungs_[place.next - 1].promotable.erase(*place.paused);
    place.paused.reset();
  }
}

}  // namespace muster::hpo
