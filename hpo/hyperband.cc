// SPDX-License-Identifier: Apache-2.0
#include "hpo/hyperband.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/error.h"

namespace muster::hpo {
namespace {

/// floor and ceil that do not fall for 2.9999999999999996.
double floor_near(double x) {
  return std::floor(x + 1e-9);
}
double ceil_near(double x) {
  return std::ceil(x - 1e-9);
}

/// R eta^-s for s from s_max to 0; whole numbers where they are at least 1.
std::vector<double> levels_below(double min_resource, double max_resource, double eta) {
  const double least = rungs_between(min_resource, max_resource, eta).front();
  std::vector<double> levels;
  for (double s = floor_near(std::log(max_resource / least) / std::log(eta)); s >= 0.0; --s) {
    const double level = max_resource * std::pow(eta, -s);
    levels.push_back(least >= 1.0 ? std::round(level) : level);
  }
  return levels;
}

}  // namespace

std::vector<BracketPlan> bracket_table(double min_resource, double max_resource, double eta,
                                       std::size_t brackets) {
  const std::vector<double> levels = levels_below(min_resource, max_resource, eta);
  const std::size_t most = levels.size();  // s_max + 1
  std::vector<BracketPlan> table;
  for (std::size_t b = 0; b < most && (brackets == 0 || b < brackets); ++b) {
    const auto s = static_cast<double>(most - 1 - b);
    const double n = ceil_near(static_cast<double>(most) * std::pow(eta, s) / (s + 1.0));
    BracketPlan plan;
    for (std::size_t i = 0; b + i < most; ++i) {
      const double trials = floor_near(n * std::pow(eta, -static_cast<double>(i)));
      plan.rungs.push_back({static_cast<std::size_t>(trials), levels[b + i]});
    }
    table.push_back(std::move(plan));
  }
  return table;
}

Hyperband::Hyperband(const SchedulerOptions& options)
    : table_(
          bracket_table(options.min_resource, options.max_resource, options.eta, options.brackets)),
      levels_(levels_below(options.min_resource, options.max_resource, options.eta)) {}

Offer Hyperband::offer(const Budget& budget) const {
  for (const Bracket& bracket : open_) {
    if (!bracket.promoted.empty()) {
      return {.kind = Offer::Kind::resume,
              .trial = bracket.promoted.back().trial,
              .bracket = bracket.number,
              .to = bracket.plan->rungs[bracket.rung].resource};
    }
    if (bracket.rung == 0 && bracket.launched < bracket.expected && budget.may_start) {
      return {.kind = Offer::Kind::fresh,
              .bracket = bracket.number,
              .to = bracket.plan->rungs[0].resource};
    }
    if (is_full(bracket, budget.may_start)) {  // only when cut short: full ones have advanced
      if (const std::vector<Entry> next = survivors(bracket); !next.empty()) {
        return {.kind = Offer::Kind::resume,
                .trial = next.back().trial,
                .bracket = bracket.number,
                .to = bracket.plan->rungs[bracket.rung + 1].resource};
      }
    }
  }
  if (!budget.may_start) {
    return {.kind = Offer::Kind::wait};
  }
  return {.kind = Offer::Kind::fresh,
          .bracket = next_number_,
          .to = plan_of(next_number_).rungs[0].resource};
}

Verdict Hyperband::judge(TrialId trial, double resource, double /*loss*/) const {
  const Bracket* bracket = find(bracket_of_.at(trial));
  require(bracket != nullptr, "a report for a bracket that is over");
  const double to = bracket->plan->rungs[bracket->rung].resource;
  if (resource < to) {
    return {.decision = Decision::keep_going, .to = to};
  }
  const bool is_last = bracket->rung + 1 == bracket->plan->rungs.size();
  return {.decision = is_last ? Decision::complete : Decision::pause};
}

void Hyperband::start(TrialId trial, std::uint32_t bracket_number, double /*to*/) {
  if (bracket_of_.try_emplace(trial, bracket_number).second) {
    while (next_number_ <= bracket_number) {
      const BracketPlan& plan = plan_of(next_number_);
      open_.push_back({.number = next_number_, .plan = &plan, .expected = plan.rungs[0].trials});
      ++next_number_;
    }
  }
  Bracket* bracket = find(bracket_of_.at(trial));
  require(bracket != nullptr, "a trial is resumed in a bracket that is over");
  const auto is_it = [trial](const Entry& entry) { return entry.trial == trial; };
  if (bracket->promoted.empty() && std::ranges::any_of(bracket->results, is_it)) {
    advance(*bracket);  // the sweep's last trials: the rung goes on with those that it has
  }
  std::erase_if(bracket->promoted, is_it);
  ++bracket->launched;
  ++bracket->running;
}

void Hyperband::record(TrialId trial, double resource, double loss, const Verdict& verdict) {
  if (verdict.decision == Decision::keep_going) {
    return;
  }
  Bracket* bracket = find(bracket_of_.at(trial));
  require(bracket != nullptr, "a report for a bracket that is over");
  --bracket->running;
  if (verdict.decision == Decision::pause &&
      resource >= bracket->plan->rungs[bracket->rung].resource) {
    bracket->results.push_back({loss, trial});
  } else {
    bracket_of_.erase(trial);
  }
  settle(*bracket);
}

void Hyperband::end(TrialId trial, TrialState /*state*/) {
  const auto found = bracket_of_.find(trial);
  if (found == bracket_of_.end()) {
    return;
  }
  Bracket* bracket = find(found->second);
  bracket_of_.erase(found);
  if (bracket == nullptr) {
    return;
  }
  const auto is_it = [trial](const Entry& entry) { return entry.trial == trial; };
  if (std::erase_if(bracket->promoted, is_it) > 0) {
    --bracket->expected;
  } else if (std::erase_if(bracket->results, is_it) == 0) {
    --bracket->running;
  }
  settle(*bracket);
}

bool Hyperband::is_full(const Bracket& bracket, bool may_start) const {
  return bracket.running == 0 && bracket.promoted.empty() && bracket.launched > 0 &&
         (bracket.launched >= bracket.expected || !may_start) &&
         bracket.rung + 1 < bracket.plan->rungs.size();
}

/// Those that go on to the next rung, worst first. A rung that failures or the end of the sweep cut
/// short keeps its share.
std::vector<Hyperband::Entry> Hyperband::survivors(const Bracket& bracket) const {
  const auto& rungs = bracket.plan->rungs;
  const double share = static_cast<double>(rungs[bracket.rung + 1].trials) /
                       static_cast<double>(rungs[bracket.rung].trials);
  const double kept = floor_near(share * static_cast<double>(bracket.launched));
  std::vector<Entry> best = bracket.results;
  std::ranges::sort(best);
  best.resize(std::min(best.size(), std::max<std::size_t>(1, static_cast<std::size_t>(kept))));
  std::ranges::reverse(best);
  return best;
}

void Hyperband::advance(Bracket& bracket) {
  bracket.promoted = survivors(bracket);
  bracket.results.clear();
  bracket.launched = 0;
  bracket.expected = bracket.promoted.size();
  ++bracket.rung;
}

void Hyperband::settle(Bracket& bracket) {
  if (is_full(bracket, true) && !bracket.results.empty()) {
    advance(bracket);
  }
  drop_finished();
}

void Hyperband::drop_finished() {
  std::erase_if(open_, [](const Bracket& bracket) {
    const bool is_last = bracket.rung + 1 == bracket.plan->rungs.size();
    return bracket.running == 0 && bracket.promoted.empty() &&
           bracket.launched >= bracket.expected && (is_last || bracket.results.empty());
  });
}

Hyperband::Bracket* Hyperband::find(std::uint32_t number) {
  const auto found = std::ranges::lower_bound(open_, number, {}, &Bracket::number);
  return found != open_.end() && found->number == number ? &*found : nullptr;
}

const Hyperband::Bracket* Hyperband::find(std::uint32_t number) const {
  const auto found = std::ranges::lower_bound(open_, number, {}, &Bracket::number);
  return found != open_.end() && found->number == number ? &*found : nullptr;
}

}  // namespace muster::hpo
