// SPDX-License-Identifier: Apache-2.0
#include "hpo/study.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

double wall_seconds(const Clock& clock) {
  return std::chrono::duration<double>(clock.wall().time_since_epoch()).count();
}

Refusal refuse(Refusal::Code code, std::string text) {
  return {code, std::move(text)};
}

std::string trial_name(TrialId trial) {
  return "trial " + std::to_string(trial);
}

}  // namespace

std::string_view name_of(Refusal::Code code) {
  static constexpr std::array<std::string_view, 7> names = {
      "parse", "field", "unknown_trial", "closed", "conflict", "unsupported", "io"};
  return names.at(static_cast<std::size_t>(code));
}

Study::Study(StudySetup setup, const Path& journal, const Clock& clock, FileSystem& files)
    : setup_(std::move(setup)),
      clock_(clock),
      opened_at_(clock.now()),
      state_(setup_),
      searcher_(make_searcher(setup_.searcher, setup_.space, setup_.searching)),
      journal_(
          journal,
          [this](std::string_view bytes) {
            const Record record = decode(bytes);
            if (const auto* asked = std::get_if<TrialAsked>(&record.event)) {
              dropped_state_bytes_ +=
                  asked->searcher_state.empty() ? 0 : state_.searcher_state().size();
            }
            state_.apply(record);
          },
          files) {
  base_seconds_ = state_.seconds();
  replay_ended();
  compact_if_worth_it(journal, files);
  commit();
}

void Study::replay_ended() {
  if (!state_.is_opened()) {
    put(SweepOpened{setup_.identity(), wall_seconds(clock_)});
    put(LimitsSet{setup_.limits});
    return;
  }
  orphans_ = state_.running();
  if (!state_.searcher_state().empty()) {
    searcher_->restore(state_.searcher_state());
  }
  if (setup_.limits != state_.limits_of_setup()) {
    put(LimitsSet{setup_.limits});
  }
  if (!state_.over() || *state_.over() == stopped_by_hand) {
    put(AttemptStarted{wall_seconds(clock_)});
  }
}

/// Searcher states that later ones replaced, and the frames of small commits, are what a journal
/// can lose.
void Study::compact_if_worth_it(const Path& path, FileSystem& files) {
  const std::uint64_t useless = dropped_state_bytes_ + 12 * std::uint64_t{journal_.found().frames};
  if (journal_.size() < (1U << 20U) || useless < journal_.size() / 2) {
    return;
  }
  journal_.commit();
  journal_.rewrite([&](const RecordVisitor& keep) {
    read_journal(
        path,
        [&](std::string_view bytes) {
          Record record = decode(bytes);
          auto* asked = std::get_if<TrialAsked>(&record.event);
          if (asked == nullptr || asked->searcher_state.empty() ||
              asked->searcher_state == state_.searcher_state()) {
            return keep(bytes);
          }
          asked->searcher_state.clear();
          keep(encode(record));
        },
        files);
  });
}

double Study::now() const {
  return base_seconds_ + std::chrono::duration<double>(clock_.now() - opened_at_).count();
}

void Study::put(Event event) {
  const std::string bytes = encode({now(), std::move(event)});
  journal_.append(bytes);
  state_.apply(decode(bytes));  // what a replay will see, to the last bit
}

std::optional<std::string> Study::all_over() const {
  return state_.completion().all_over(state_.limits(), state_.spent(now()));
}

Next Study::next(const std::set<TrialId>& holding) {
  if (!state_.over()) {
    if (const auto why = all_over()) {
      finish(*why);
    }
  }
  if (state_.over()) {
    return {.kind = Next::Kind::done, .reason = *state_.over()};
  }
  std::erase_if(orphans_, [&](TrialId trial) { return holding.contains(trial); });
  if (!orphans_.empty()) {
    return {.kind = Next::Kind::launch, .trial = *orphans_.begin(), .again = true};
  }
  if (!state_.waiting().empty()) {
    return {.kind = Next::Kind::launch, .trial = *state_.waiting().begin(), .again = true};
  }
  const Completion::Spent spent = state_.spent(now());
  const std::optional<std::string> no_more =
      state_.completion().no_more_trials(state_.limits(), spent);
  const bool has_queued = !state_.enqueued().empty() || !state_.proposed().empty();
  Next next;
  next.offer = state_.scheduler().offer({.spent = Completion::share(state_.limits(), spent),
                                         .may_start = has_queued || (!no_more && !is_exhausted_)});
  if (next.offer.kind == Offer::Kind::resume) {
    next.kind = Next::Kind::launch;
    next.trial = next.offer.trial;
  } else if (next.offer.kind == Offer::Kind::fresh && has_queued) {
    next.kind = Next::Kind::launch;
    next.trial = state_.enqueued().empty() ? state_.proposed().front() : state_.enqueued().front();
  } else if (next.offer.kind == Offer::Kind::fresh) {
    next.kind = Next::Kind::propose;
  } else if (state_.running().empty()) {
    finish(no_more ? *no_more : "every configuration of the space was tried");
    return {.kind = Next::Kind::done, .reason = *state_.over()};
  }
  return next;
}

Launch Study::launch(const Next& next, std::uint32_t slot) {
  orphans_.erase(next.trial);
  const Trial& trial = *state_.find(next.trial);
  put(TrialLaunched{.trial = next.trial,
                    .bracket = next.again ? trial.bracket : next.offer.bracket,
                    .to = next.again ? trial.to : next.offer.to,
                    .slot = slot,
                    .again = next.again});
  return {.trial = trial.id,
          .config = trial.config,
          .from = trial.resource,
          .to = trial.to,
          .attempt = static_cast<std::uint32_t>(trial.spans.size()),
          .bracket = trial.bracket};
}

OwnedQuestion Study::question() const {
  OwnedQuestion question{.number = state_.proposals(),
                         .history = &state_.history(),
                         .seen = state_.history().size(),
                         .seen_before = state_.seen(),
                         .pending = {}};
  if (setup_.searcher != "random" && setup_.searcher != "sobol") {
    for (const TrialId trial : state_.pending()) {
      question.pending.push_back(state_.find(trial)->config);
    }
  }
  return question;
}

bool Study::wants_proposal(std::size_t ahead) const {
  return state_.proposed().size() < ahead && !is_exhausted_ && !state_.over() &&
         !state_.completion().no_more_trials(state_.limits(), state_.spent(now()));
}

void Study::propose() {
  const OwnedQuestion question = this->question();
  accept(searcher_->propose(question.view()));
}

void Study::accept(const std::optional<Proposal>& proposal) {
  if (!proposal) {
    is_exhausted_ = true;
    return;
  }
  put(TrialAsked{.trial = state_.next_id(),
                 .config = proposal->config,
                 .origin = proposal->origin,
                 .is_proposal = true,
                 .seen = proposal->seen,
                 .searcher_state = proposal->state,
                 .expected_gain = proposal->expected_gain});
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
  for (const Trial::Point& point : trial->curve) {
    if (point.resource == told.resource) {
      return refuse(Code::conflict, trial_name(told.trial) + " reported " + exact(point.value) +
                                        " at resource " + exact(*told.resource) + " before, not " +
                                        exact(told.value));
    }
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

void Study::requeue_running(const std::string& reason) {
  const std::set<TrialId> running = state_.running();
  for (const TrialId trial : running) {
    put(TrialEnded{trial, TrialState::preempted, false, reason});
  }
  orphans_.clear();
}

TrialId Study::enqueue(const Config& config, const std::string& origin) {
  const TrialId trial = state_.next_id();
  put(TrialAsked{.trial = trial,
                 .config = config,
                 .origin = origin,
                 .is_proposal = false,
                 .seen = 0,
                 .searcher_state = {},
                 .expected_gain = std::nullopt});
  return trial;
}

TrialId Study::add(const Config& config, std::optional<double> resource, double value, bool failed,
                   const std::string& source) {
  const TrialId trial = state_.next_id();
  put(ResultAdded{trial, config, resource, value, failed || !std::isfinite(value), source});
  return trial;
}

void Study::set_limits(const Limits& limits) {
  put(LimitsSet{limits, true});
}

void Study::finish(const std::string& reason) {
  put(SweepOver{reason});
}

}  // namespace muster::hpo
