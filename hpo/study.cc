// SPDX-License-Identifier: Apache-2.0
#include "hpo/study.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

double wall_seconds(const Clock& clock) {
  return std::chrono::duration<double>(clock.wall().time_since_epoch()).count();
}

}  // namespace

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
    for (const Space::Params& start : setup_.space.starts()) {
      Random random(mix(setup_.seed, 0x57a27), state_.next_id());
      enqueue(setup_.space.complete(start, random), "start");
    }
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

void Study::lend(std::uint32_t source, const Config& config, std::optional<double> resource,
                 double value, bool failed) {
  put(RowLent{source, config, resource, value, failed || !std::isfinite(value)});
}

void Study::count_slots(std::uint32_t count) {
  if (count != state_.slots()) {
    put(SlotsCounted{count});
  }
}

void Study::set_limits(const Limits& limits) {
  put(LimitsSet{limits, true});
}

void Study::finish(const std::string& reason) {
  put(SweepOver{reason});
}

}  // namespace muster::hpo
