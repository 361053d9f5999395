// SPDX-License-Identifier: Apache-2.0
#include "hpo/scheduler.h"

#include <array>
#include <cmath>

#include "hpo/asha.h"
#include "hpo/hyperband.h"
#include "hpo/median.h"
#include "hpo/plugin.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

/// Every trial runs to its end, in the order in which it was proposed.
class Fifo final : public Scheduler {
 public:
  explicit Fifo(const SchedulerOptions& options)
      : to_(options.max_resource > 0.0 ? options.max_resource : no_limit) {
    if (to_ != no_limit) {
      rungs_.push_back(to_);
    }
  }
  Offer offer(const Budget& budget) const override {
    return {.kind = budget.may_start ? Offer::Kind::fresh : Offer::Kind::wait, .to = to_};
  }
  Verdict judge(TrialId /*trial*/, double resource, double /*loss*/) const override {
    return resource >= to_ ? Verdict{.decision = Decision::complete}
                           : Verdict{.decision = Decision::keep_going, .to = to_};
  }
  void start(TrialId /*trial*/, std::uint32_t /*bracket*/, double /*to*/) override {}
  void record(TrialId /*trial*/, double /*resource*/, double /*loss*/,
              const Verdict& /*verdict*/) override {}
  void end(TrialId /*trial*/, TrialState /*state*/) override {}
  const std::vector<double>& rungs() const override { return rungs_; }

 private:
  double to_;
  std::vector<double> rungs_;
};

[[noreturn]] void refuse(const std::string& why) {
  throw Error(Fault::bad_input, why);
}

void check(std::string_view name, const SchedulerOptions& options) {
  if (options.max_resource <= 0.0) {
    refuse("tune.scheduler = " + std::string(name) +
           " compares trials part of the way, so it needs tune.max_resource, the resource (epochs, "
           "steps) of a full trial");
  }
}

void check_brackets(const SchedulerOptions& options, const std::vector<double>& levels) {
  if (options.brackets > levels.size()) {
    refuse("tune.brackets = " + std::to_string(options.brackets) +
           " is more than there are: from " + exact(levels.front()) + " to " +
           exact(levels.back()) + " in steps of tune.eta = " + exact(options.eta) + " there are " +
           std::to_string(levels.size()) +
           "; ask for that many or fewer, or lower tune.min_resource");
  }
}

}  // namespace

std::vector<double> rungs_between(double min_resource, double max_resource, double eta) {
  if (!(eta > 1.0) || eta > 1e6) {
    refuse("tune.eta = " + exact(eta) +
           ": between rungs one trial in eta goes on, so it is above 1");
  }
  const double least =
      min_resource > 0.0 ? min_resource : std::max(1.0, std::round(max_resource / 27.0));
  if (!(max_resource >= least) || !std::isfinite(max_resource)) {
    refuse("tune.max_resource = " + exact(max_resource) +
           " is below tune.min_resource = " + exact(least));
  }
  std::vector<double> rungs;
  // The last step up may fall short of eta by rounding, never by more.
  for (double level = least; level < max_resource * (1.0 - 1e-9); level *= eta) {
    const double rounded = least >= 1.0 ? std::round(level) : level;
    if (rungs.empty() || rounded > rungs.back()) {
      rungs.push_back(rounded);
    }
  }
  if (!rungs.empty() && rungs.back() >= max_resource) {
    rungs.pop_back();
  }
  rungs.push_back(max_resource);
  return rungs;
}

std::unique_ptr<Scheduler> make_scheduler(std::string_view name, const SchedulerOptions& options) {
  static const std::array<std::string, 4> known = {"fifo", "median", "hyperband", "asha"};
  if (name == "fifo") {
    return std::make_unique<Fifo>(options);
  }
  if (name == "median") {
    return std::make_unique<Median>(options);
  }
  if (name == "hyperband") {
    check(name, options);
    if (options.resumes) {
      auto hyperband = std::make_unique<Hyperband>(options);
      check_brackets(options, hyperband->rungs());
      return hyperband;
    }
    SchedulerOptions all = options;  // trials that cannot pause: stopped at rungs, all brackets
    if (all.brackets == 0) {
      all.brackets = rungs_between(all.min_resource, all.max_resource, all.eta).size();
    }
    return make_scheduler("asha", all);
  }
  if (name == "asha") {
    check(name, options);
    check_brackets(options, rungs_between(options.min_resource, options.max_resource, options.eta));
    return std::make_unique<Asha>(options);
  }
  if (name.starts_with("plugin:")) {
    return open_scheduler(std::string(name.substr(7)), options);
  }
  if (name == "pbt" || name == "pb2") {
    refuse("tune.scheduler = " + std::string(name) +
           ": population-based training is not built; asha promotes and resumes trials");
  }
  const std::optional<std::string> near = nearest(name, known);
  refuse("tune.scheduler = " + std::string(name) + " is none of fifo, median, hyperband, asha" +
         (near ? "; did you mean '" + *near + "'?" : ""));
}

}  // namespace muster::hpo
