/// A searcher and a scheduler of one's own: random points that gather around the best as results
/// come in, and a scheduler that drops a trial halfway when it is worse than the one before it was
/// there. Build it with the installed package (CMakeLists.txt beside this), name it in a sweep as
///
///     [tune]
///     searcher = plugin:build/libshrinking.so
///     scheduler = plugin:build/libshrinking.so
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <optional>

#include "hpo/plugin.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace {

using namespace muster::hpo;

class Shrinking final : public Searcher {
 public:
  Shrinking(const Space& space, const SearcherOptions& options)
      : space_(space), seed_(options.seed) {}

  /// Everything follows from the question: there is no state to be restored.
  std::optional<Proposal> propose(const Question& question) override {
    muster::Random random(seed_, question.number);
    Proposal proposal{space_.sample(random), "plugin", question.seen, {}, {}};
    const Observation* best = nullptr;
    for (std::size_t i = 0; i < question.seen; ++i) {
      const Observation& row = (*question.history)[i];
      best = !row.failed && (best == nullptr || row.value < best->value) ? &row : best;
    }
    if (best == nullptr || question.number % 2 == 0) {
      return proposal;
    }
    std::vector<double> place = space_.encode(best->config);
    const double reach = 1.0 / std::sqrt(1.0 + static_cast<double>(question.seen));
    for (double& x : place) {
      const double drawn = random.uniform();
      x = std::isnan(x) ? drawn : std::clamp(x + reach * (drawn - 0.5), 0.0, 1.0);
    }
    Config near = space_.decode(place);
    if (space_.allows(near)) {
      proposal.config = std::move(near);
    }
    return proposal;
  }
  void restore(std::string_view state) override {
    muster::require(state.empty(), "this searcher has no state");
  }

 private:
  const Space& space_;
  std::uint64_t seed_;
};

class Halfway final : public Scheduler {
 public:
  explicit Halfway(const SchedulerOptions& options)
      : to_(options.max_resource > 0.0 ? options.max_resource : no_limit) {}

  Offer offer(const Budget& budget) const override {
    return {.kind = budget.may_start ? Offer::Kind::fresh : Offer::Kind::wait, .to = to_};
  }
  Verdict judge(TrialId, double resource, double loss) const override {
    if (resource >= to_) {
      return {.decision = Decision::complete};
    }
    const bool is_worse = resource >= 0.5 * to_ && last_ && loss > *last_;
    return {.decision = is_worse ? Decision::stop : Decision::keep_going, .to = to_};
  }
  void start(TrialId, std::uint32_t, double) override {}
  void record(TrialId, double resource, double loss, const Verdict&) override {
    last_ = resource >= 0.5 * to_ ? std::optional(loss) : last_;
  }
  void end(TrialId, TrialState) override {}
  const std::vector<double>& rungs() const override { return rungs_; }

 private:
  double to_;
  std::optional<double> last_;
  std::vector<double> rungs_;
};

}  // namespace

MUSTER_SEARCHER(Shrinking)
MUSTER_SCHEDULER(Halfway)
