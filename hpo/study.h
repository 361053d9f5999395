/// Study: a sweep that can be asked for trials and told their results, durable in a journal: ask
/// and tell as a C++ library. The coordinator and `muster ask-tell` both stand on it. What a call
/// returns is durable only after commit(): commit before anyone acts on it. One thread; the
/// searcher may be asked on another one with the question() of this. Dies with Error(io) when the
/// journal cannot be written: open another on the same file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "hpo/journal.h"
#include "hpo/runner.h"
#include "hpo/searcher.h"
#include "hpo/sweep_state.h"
#include "runtime/base/clock.h"

namespace muster::hpo {

/// What cannot be done, and nothing was changed. The codes are those of ask and tell.
struct Refusal {
  enum class Code : std::uint8_t { parse, field, unknown_trial, closed, conflict, unsupported, io };
  Code code = Code::field;
  std::string text;
  bool operator==(const Refusal&) const = default;
};
std::string_view name_of(Refusal::Code code);

/// What a free slot should do.
struct Next {
  enum class Kind : std::uint8_t {
    launch,   ///< start `trial`: pass this to launch()
    propose,  ///< a configuration is missing: propose(), or accept() what the searcher answered to
              ///< question()
    wait,     ///< for a running trial
    done,     ///< the sweep is over: `reason`
  };
  Kind kind = Kind::wait;
  TrialId trial = 0;
  Offer offer;
  bool again = false;
  std::string reason{};
};

/// A Question that owns what it shows: fit for another thread.
struct OwnedQuestion {
  std::uint64_t number = 0;
  const History* history = nullptr;
  std::size_t seen = 0, seen_before = 0;
  std::vector<Config> pending;
  Question view() const { return {number, history, seen, seen_before, pending}; }
};

class Study {
 public:
  /// Opens or makes the journal and replays it. Nobody else may have it open for writing.
  Study(StudySetup setup, const Path& journal, const Clock& clock,
        FileSystem& files = posix_file_system());

  /// Trials in `holding` are still run by whoever asks, though this process was restarted.
  Next next(const std::set<TrialId>& holding = {});
  Launch launch(const Next& next, std::uint32_t slot = 0);
  void propose();  ///< asks the searcher, here and now
  OwnedQuestion question() const;
  void accept(const std::optional<Proposal>& proposal);
  Searcher& searcher() { return *searcher_; }
  /// Fewer than `ahead` proposals are ready, and one more may become a trial.
  bool wants_proposal(std::size_t ahead) const;

  /// A report of a running trial. NaN and infinities are failures. Without a resource the value is
  /// final.
  struct Told {
    TrialId trial = 0;
    std::optional<double> resource{};
    double value = 0.0;
    Metrics metrics{};
    double seconds = 0.0;
    std::string info{};
  };
  std::variant<Verdict, Refusal> tell(const Told& told);
  /// A running trial ended by itself. Failed ones come again until their retries are used up.
  std::optional<Refusal> end(TrialId trial, TrialState state, const std::string& reason,
                             std::optional<double> value = std::nullopt);
  std::optional<Refusal> stop_trial(TrialId trial, const std::string& reason);
  /// Every running trial lost its slot: the process that ran them is gone, or leaves.
  void requeue_running(const std::string& reason);

  /// Whoever asks still runs what was running: nothing of it comes again by itself.
  void keep_running() { orphans_.clear(); }

  TrialId enqueue(const Config& config, const std::string& origin = "enqueued");
  TrialId add(const Config& config, std::optional<double> resource, double value, bool failed,
              const std::string& source);
  /// A row of the `source`-th similar sweep, from 1: the model's to weigh, no result of this one.
  void lend(std::uint32_t source, const Config& config, std::optional<double> resource,
            double value, bool failed);
  /// How many trials may run at once now; a record where that is news.
  void count_slots(std::uint32_t count);
  void set_limits(const Limits& limits);
  void finish(
      const std::string& reason);  ///< over, until limits change or the sweep is opened again

  void commit() { journal_.commit(); }
  bool has_uncommitted() const { return journal_.has_pending(); }

  const SweepState& state() const { return state_; }
  const StudySetup& setup() const { return setup_; }
  double now() const;  ///< seconds of the sweep
  std::uint64_t journal_bytes() const { return journal_.size(); }
  /// Why everything ends now, if it does.
  std::optional<std::string> all_over() const;

 private:
  void put(Event event);
  void replay_ended();
  void compact_if_worth_it(const Path& path, FileSystem& files);
  std::vector<std::pair<std::uint32_t, double>> numbered(const Metrics& metrics);
  std::optional<Refusal> check(const Trial* trial, const Told& told) const;
  std::optional<Verdict> known_answer(const Trial& trial, const Told& told) const;
  Verdict judge(const Trial& trial, const Told& told) const;

  StudySetup setup_;
  const Clock& clock_;
  Monotonic opened_at_;
  SweepState state_;
  std::unique_ptr<Searcher> searcher_;
  std::uint64_t dropped_state_bytes_ = 0;  // counted while journal_ is read: stands before it
  Journal journal_;
  double base_seconds_ = 0.0;
  std::set<TrialId> orphans_;  // running when the journal was opened
  bool is_exhausted_ = false;
};

inline constexpr const char* stopped_by_hand = "stopped by hand";

}  // namespace muster::hpo
