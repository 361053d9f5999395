/// tuner_anytime OUT.csv --data lcbench.h5 [--seeds 4] [--workers 4] [--only METHOD]:
/// multi-fidelity in simulated time. Workers train trials of the LCBench surrogate, which says how
/// long an epoch takes; the searcher's thinking time, in seconds of the processor, is added to the
/// clock of the worker that waits for it. Horizon: 25 median full runs. Rows: method, problem,
/// seed, seconds in the searcher, then the best validation error seen at any epoch after 0.5, 1, 2,
/// 3, 5, 8, 12, 18, 25 full runs. Rows of "horizon" hold the median seconds of a full run, for
/// anytime_peers.py.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <queue>

#include "benchmarks/tuner/problems.h"
#include "hpo/scheduler.h"
#include "hpo/searcher.h"
#include "hpo/simple_searchers.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace {

using namespace muster;
using namespace muster::benchmarks;

constexpr std::array<double, 9> marks{0.5, 1, 2, 3, 5, 8, 12, 18, 25};

struct Method {
  std::string name, searcher, scheduler;
  double late_share = 0.0;
};

/// Of the processor, not of the wall: the searcher is one thread that never waits, and a machine
/// with other work would count that work too.
double thread_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double full_run(const Problem& problem) {
  const hpo::Space space = hpo::Space::parse(problem.search);
  hpo::SobolSearcher points(space, 12345);
  std::vector<double> seconds;
  for (std::uint64_t i = 0; i < 501; ++i) {
    seconds.push_back(problem.evaluate(points.point(i).values, problem.max_resource).seconds);
  }
  std::ranges::nth_element(seconds, seconds.begin() + 250);
  return seconds[250];
}

/// One sweep in virtual time.
class Sweep {
 public:
  Sweep(const Problem& problem, const Method& method, std::uint64_t seed, double full)
      : problem_(problem),
        full_(full),
        horizon_(marks.back() * full),
        space_(hpo::Space::parse(problem.search)) {
    const bool has_rungs = method.scheduler == "asha";
    hpo::SearcherOptions options{.seed = seed};
    if (has_rungs) {
      options.min_resource = std::max(1, problem.max_resource / 27);
      options.max_resource = problem.max_resource;
    }
    searcher_ = hpo::make_searcher(method.searcher, space_, options);
    hpo::SchedulerOptions budget;
    budget.max_resource = problem.max_resource;
    budget.min_resource = options.min_resource;
    budget.late_share = method.late_share;
    scheduler_ = hpo::make_scheduler(method.scheduler, budget);
    best_.fill(1.0);
  }

  void run(int workers) {
    idle_ = workers;
    while (idle_ > 0 && begin(0.0)) {
      --idle_;
    }
    while (!events_.empty()) {
      const Event event = events_.top();
      events_.pop();
      if (event.time > horizon_) {
        return;
      }
      idle_ += finish(event) ? 1 : 0;
      while (idle_ > 0 && begin(event.time)) {
        --idle_;
      }
    }
  }

  const std::array<double, marks.size()>& best() const { return best_; }
  double thinking() const { return thinking_; }
  std::size_t trials() const { return configs_.size(); }

 private:
  struct Event {
    double time;
    hpo::TrialId trial;
    double resource;
    bool operator<(const Event& other) const { return time > other.time; }
  };

  bool begin(double now) {
    const hpo::Offer offer = scheduler_->offer({.spent = now / horizon_, .may_start = true});
    if (offer.kind == hpo::Offer::Kind::wait) {
      return false;
    }
    hpo::TrialId trial = offer.trial;
    if (offer.kind == hpo::Offer::Kind::fresh) {
      now += ask();
      trial = static_cast<hpo::TrialId>(configs_.size());
    }
    scheduler_->start(trial, offer.bracket, offer.to);
    is_open_[trial - 1] = true;
    advance(trial, now, std::min<double>(offer.to, problem_.max_resource));
    return true;
  }

  /// Trains epoch by epoch from where it stands; the best value counts from the moment that it is
  /// seen.
  void advance(hpo::TrialId trial, double now, double to) {
    double& from = done_[trial - 1];
    const std::vector<double>& values = configs_[trial - 1].values;
    const double before =
        from > 0 ? problem_.evaluate(values, static_cast<int>(from)).seconds : 0.0;
    double last = now;
    for (int epoch = static_cast<int>(from) + 1; epoch <= static_cast<int>(to); ++epoch) {
      const Outcome outcome = problem_.evaluate(values, epoch);
      last = std::max(last, now + std::max(0.0, outcome.seconds - before));
      for (std::size_t k = 0; k < marks.size(); ++k) {
        best_[k] = last <= marks[k] * full_ ? std::min(best_[k], outcome.value) : best_[k];
      }
    }
    from = to;
    events_.push({last, trial, to});
  }

  double ask() {
    std::vector<hpo::Config> pending;
    for (std::size_t i = 0; i < configs_.size(); ++i) {
      if (is_open_[i]) {
        pending.push_back(configs_[i]);
      }
    }
    const double start = thread_seconds();
    const auto proposal = searcher_->propose({.number = configs_.size(),
                                              .history = &history_,
                                              .seen = history_.size(),
                                              .seen_before = seen_before_,
                                              .pending = pending});
    const double spent = thread_seconds() - start;
    thinking_ += spent;
    seen_before_ = history_.size();
    configs_.push_back(proposal->config);
    done_.push_back(0.0);
    is_open_.push_back(false);
    return spent;
  }

  /// Whether the worker is free.
  bool finish(const Event& event) {
    const double value =
        problem_.evaluate(configs_[event.trial - 1].values, static_cast<int>(event.resource)).value;
    const hpo::Verdict verdict = scheduler_->judge(event.trial, event.resource, value);
    scheduler_->record(event.trial, event.resource, value, verdict);
    history_.append({.trial = event.trial,
                     .config = configs_[event.trial - 1],
                     .resource = event.resource,
                     .value = value,
                     .failed = false});
    if (verdict.decision == hpo::Decision::keep_going && event.resource < problem_.max_resource) {
      advance(event.trial, event.time, std::min<double>(verdict.to, problem_.max_resource));
      return false;
    }
    is_open_[event.trial - 1] = false;
    if (event.resource >= problem_.max_resource && verdict.decision == hpo::Decision::keep_going) {
      scheduler_->end(event.trial, hpo::TrialState::complete);
    }
    return true;
  }

  const Problem& problem_;
  double full_, horizon_;
  hpo::Space space_;
  std::unique_ptr<hpo::Searcher> searcher_;
  std::unique_ptr<hpo::Scheduler> scheduler_;
  hpo::History history_;
  std::priority_queue<Event> events_;
  std::vector<hpo::Config> configs_;
  std::vector<double> done_;
  std::vector<bool> is_open_;
  std::array<double, marks.size()> best_{};
  std::size_t seen_before_ = 0;
  int idle_ = 0;
  double thinking_ = 0.0;
};

void bench(const std::string& out, const std::map<std::string, std::string>& options) {
  const auto number = [&](const char* name, int otherwise) {
    return options.contains(name)
               ? static_cast<int>(parse_int(options.at(name)).value_or(otherwise))
               : otherwise;
  };
  const std::vector<Method> methods{{"muster auto", "bayesian", "asha", 1.0 / 3.0},
                                    {"muster bayesian, full", "bayesian", "fifo", 0.0},
                                    {"random + asha", "random", "asha", 0.0},
                                    {"random, full", "random", "fifo", 0.0}};
  const std::vector<Problem> problems = lcbench_problems(options.at("--data"));
  std::ofstream file(out);
  for (const Problem& problem : problems) {
    file << "horizon," << problem.name << ",0," << full_run(problem) << '\n';
  }
  for (int seed = 0; seed < number("--seeds", 4); ++seed) {
    for (const Problem& problem : problems) {
      for (const Method& method : methods) {
        if (options.contains("--only") && options.at("--only") != method.name) {
          continue;
        }
        Sweep sweep(problem, method, static_cast<std::uint64_t>(seed), full_run(problem));
        sweep.run(number("--workers", 4));
        file << '"' << method.name << "\"," << problem.name << ',' << seed << ','
             << sweep.thinking();
        for (double value : sweep.best()) {
          file << ',' << exact(value);
        }
        file << ',' << sweep.trials() << '\n' << std::flush;
      }
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  try {
    std::map<std::string, std::string> options;
    for (int i = 2; i + 1 < count; i += 2) {
      options[arguments[i]] = arguments[i + 1];
    }
    if (count < 2 || !options.contains("--data")) {
      throw Error(Fault::bad_input,
                  "usage: tuner_anytime OUT.csv --data lcbench.h5 [--seeds n] [--workers n] "
                  "[--only method]");
    }
    bench(arguments[1], options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", report(error).c_str());
    return exit_code_of(error);
  }
}
