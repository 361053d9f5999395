// SPDX-License-Identifier: Apache-2.0
// What a study is told of its trials: reports, ends, and what is refused.
#include <algorithm>
#include <array>
#include <cmath>

#include "hpo/study.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

Refusal refuse(Refusal::Code code, std::string text) {
  return {code, std::move(text)};
}

std::string trial_name(TrialId trial) {
  return "trial " + std::to_string(trial);
}

/// Another value for a resource that was reported.
std::optional<Refusal> conflict_of(const Trial& trial, const Study::Told& told) {
  if (!told.resource || *told.resource > trial.resource) {
    return std::nullopt;  // news: the usual case, and curves are long
  }
  for (const Trial::Point& point : trial.curve) {
    if (point.resource == told.resource && point.value != told.value) {
      return refuse(Refusal::Code::conflict,
                    trial_name(told.trial) + " reported " + exact(point.value) + " at resource " +
                        exact(*told.resource) + " before, not " + exact(told.value));
    }
  }
  return std::nullopt;
}

}  // namespace

std::string_view name_of(Refusal::Code code) {
  static constexpr std::array<std::string_view, 7> names = {
      "parse", "field", "unknown_trial", "closed", "conflict", "unsupported", "io"};
  return names.at(static_cast<std::size_t>(code));
}

std::vector<std::pair<std::uint32_t, double>> Study::numbered(const Metrics& metrics) {
  std::vector<std::pair<std::uint32_t, double>> numbers;
  for (const auto& [name, value] : metrics) {
    const auto& known = state_.metric_names();
    const auto number = static_cast<std::uint32_t>(std::ranges::find(known, name) - known.begin());
    if (number == known.size()) {
      put(MetricNamed{number, name});
    }
    numbers.emplace_back(number, value);
  }
  return numbers;
}

/// The same tell again, or one that a trial repeats after it came back from a checkpoint.
std::optional<Verdict> Study::known_answer(const Trial& trial, const Told& told) const {
  if (told.resource && *told.resource > trial.resource) {
    return std::nullopt;  // news: the usual case, and curves are long
  }
  for (auto point = trial.curve.rbegin(); point != trial.curve.rend(); ++point) {
    if (point->resource == told.resource && (point->value == told.value || trial.came_again)) {
      const bool is_last = point == trial.curve.rbegin();
      return trial.state == TrialState::running && !is_last
                 ? Verdict{Decision::keep_going, trial.to}
                 : point->verdict;
    }
  }
  return std::nullopt;
}

std::optional<Refusal> Study::check(const Trial* trial, const Told& told) const {
  using Code = Refusal::Code;
  if (trial == nullptr) {
    return refuse(Code::unknown_trial, trial_name(told.trial) + " was never handed out");
  }
  if (auto conflict = conflict_of(*trial, told)) {
    return conflict;
  }
  if (trial->state != TrialState::running) {
    return refuse(Code::closed, trial_name(told.trial) + " is " +
                                    std::string(name_of(trial->state)) +
                                    ": no report of it is expected");
  }
  if (!told.resource) {
    return std::nullopt;
  }
  if (!std::isfinite(*told.resource) || *told.resource <= 0.0) {
    return refuse(Code::field, "resource is a positive number");
  }
  if (*told.resource > trial->resource) {
    return std::nullopt;
  }
  return refuse(Code::field, trial_name(told.trial) + " reported at resource " +
                                 exact(trial->resource) + " before; resources grow");
}

Verdict Study::judge(const Trial& trial, const Told& told) const {
  if (!told.resource) {
    return {.decision = Decision::complete};
  }
  const Verdict verdict =
      state_.scheduler().judge(trial.id, *told.resource, state_.loss_of(told.value));
  if (verdict.decision == Decision::complete) {
    return verdict;
  }
  Completion with_it = state_.completion();
  with_it.reported(state_.loss_of(told.value));
  const bool ends = state_.over() || with_it.all_over(state_.limits(), state_.spent(now()));
  return ends ? Verdict{.decision = Decision::stop} : verdict;
}

std::variant<Verdict, Refusal> Study::tell(const Told& told) {
  const Trial* trial = state_.find(told.trial);
  if (trial != nullptr && !trial->is_added && std::isfinite(told.value)) {
    if (const auto answer = known_answer(*trial, told)) {
      return *answer;
    }
  }
  if (const auto refusal = check(trial, told)) {
    return *refusal;
  }
  orphans_.erase(told.trial);
  if (!std::isfinite(told.value)) {
    put(TrialEnded{told.trial, TrialState::failed, true, "nan"});
    return Verdict{.decision = Decision::stop};
  }
  const Verdict verdict = judge(*trial, told);
  const auto metrics = numbered(told.metrics);
  put(TrialReported{told.trial, told.resource, told.value, verdict, told.seconds, metrics,
                    told.info});
  return verdict;
}

std::optional<Refusal> Study::end(TrialId id, TrialState state, const std::string& reason,
                                  std::optional<double> value) {
  const Trial* trial = state_.find(id);
  if (trial == nullptr) {
    return refuse(Refusal::Code::unknown_trial, trial_name(id) + " was never handed out");
  }
  if (trial->state != TrialState::running) {
    return refuse(Refusal::Code::closed,
                  trial_name(id) + " is " + std::string(name_of(trial->state)) + " already");
  }
  if (state == TrialState::complete && value) {
    const auto answer = tell({.trial = id, .value = *value});
    const auto* refusal = std::get_if<Refusal>(&answer);
    return refusal != nullptr ? std::optional(*refusal) : std::nullopt;
  }
  orphans_.erase(id);
  if (state == TrialState::complete && !trial->value) {
    put(TrialEnded{id, TrialState::failed, true, "it ended without reporting " + setup_.metric});
    return std::nullopt;
  }
  const bool is_failure = state == TrialState::failed;
  const bool may_retry = static_cast<int>(trial->failures) < setup_.retries && !state_.over();
  put(TrialEnded{id, is_failure && may_retry ? TrialState::queued : state, is_failure, reason});
  return std::nullopt;
}

std::optional<Refusal> Study::stop_trial(TrialId id, const std::string& reason) {
  const Trial* trial = state_.find(id);
  if (trial == nullptr) {
    return refuse(Refusal::Code::unknown_trial, "there is no " + trial_name(id));
  }
  if (is_final(trial->state)) {
    return refuse(Refusal::Code::closed,
                  trial_name(id) + " is " + std::string(name_of(trial->state)) + " already");
  }
  orphans_.erase(id);
  put(TrialEnded{id, TrialState::stopped, false, reason});
  return std::nullopt;
}

}  // namespace muster::hpo
