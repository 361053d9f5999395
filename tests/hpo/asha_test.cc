// SPDX-License-Identifier: Apache-2.0
#include "hpo/asha.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace muster::hpo {
namespace {

using testing::ElementsAre;

SchedulerOptions options_for(double max_resource, bool resumes) {
  return {.min_resource = 1.0, .max_resource = max_resource, .eta = 3.0, .resumes = resumes};
}

/// The rule as the paper states it, with lists that are sorted anew each time.
class PlainAsha {
 public:
  PlainAsha(std::vector<double> levels, double eta, bool resumes)
      : levels_(std::move(levels)), eta_(eta), resumes_(resumes), rungs_(levels_.size()) {}

  std::pair<TrialId, double> next_promotion() const {
    for (std::size_t k = levels_.size() - 1; k-- > 0;) {
      const auto best = sorted(k);
      const auto top = static_cast<std::size_t>(static_cast<double>(best.size()) / eta_);
      for (std::size_t i = 0; i < top; ++i) {
        const auto paused = paused_at_.find(best[i].second);
        if (paused != paused_at_.end() && paused->second == k) {
          return {best[i].second, levels_[k + 1]};
        }
      }
    }
    return {0, 0.0};
  }

  Decision report(TrialId trial, std::size_t k, double loss) {
    rungs_[k].push_back({loss, trial});
    if (k + 1 == levels_.size()) {
      return Decision::complete;
    }
    if (!resumes_) {
      const auto best = sorted(k);
      const std::size_t n = best.size();
      const auto top =
          std::max<std::size_t>(1, static_cast<std::size_t>(static_cast<double>(n) / eta_));
      const auto mine = std::find(best.begin(), best.end(), std::pair{loss, trial}) - best.begin();
      const bool stays = static_cast<double>(n) < eta_ || static_cast<std::size_t>(mine) < top;
      return stays ? Decision::keep_going : Decision::stop;
    }
    paused_at_[trial] = k;
    if (next_promotion().first == trial) {
      paused_at_.erase(trial);
      return Decision::keep_going;
    }
    return Decision::pause;
  }
  void resume(TrialId trial) { paused_at_.erase(trial); }

 private:
  std::vector<std::pair<double, TrialId>> sorted(std::size_t k) const {
    auto entries = rungs_[k];
    std::ranges::sort(entries);
    return entries;
  }
  std::vector<double> levels_;
  double eta_;
  bool resumes_;
  std::vector<std::vector<std::pair<double, TrialId>>> rungs_;
  std::map<TrialId, std::size_t> paused_at_;
};

/// Workers that finish in random order, values with many ties.
void agree_with_the_plain_rule(bool resumes, double eta, std::uint64_t seed) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  SchedulerOptions options = options_for(27.0, resumes);
  options.eta = eta;
  Asha asha(options);
  const std::vector<double> levels = asha.rungs();
  PlainAsha plain(levels, eta, resumes);
  std::vector<std::pair<TrialId, double>> running;
  TrialId last = 0;
  for (int event = 0; event < 800; ++event) {
    if (running.size() < 7) {
      const Offer offer = asha.offer({.spent = 0.0, .may_start = true});
      const auto promotion = plain.next_promotion();
      if (promotion.first != 0) {
        ASSERT_EQ(offer.kind, Offer::Kind::resume);
        ASSERT_EQ(offer.trial, promotion.first);
        ASSERT_EQ(offer.to, promotion.second);
        plain.resume(offer.trial);
      } else {
        ASSERT_EQ(offer.kind, Offer::Kind::fresh);
      }
      const TrialId trial = offer.kind == Offer::Kind::fresh ? ++last : offer.trial;
      asha.start(trial, offer.bracket, offer.to);
      running.push_back({trial, offer.to});
      continue;
    }
    const std::size_t which = random.below(running.size());
    auto& [trial, to] = running[which];
    const double loss = static_cast<double>(random.below(40));
    const auto rung = static_cast<std::size_t>(std::ranges::find(levels, to) - levels.begin());
    const Verdict verdict = asha.judge(trial, to, loss);
    asha.record(trial, to, loss, verdict);
    ASSERT_EQ(verdict.decision, plain.report(trial, rung, loss));
    if (verdict.decision == Decision::keep_going) {
      to = verdict.to;
    } else {
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(which));
    }
  }
}

TEST(Asha, PromotesAsThePlainRuleDoes) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    agree_with_the_plain_rule(true, 3.0, seed);
    agree_with_the_plain_rule(true, 2.0, seed);
  }
}

TEST(Asha, StopsAsThePlainRuleDoes) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    agree_with_the_plain_rule(false, 3.0, seed);
    agree_with_the_plain_rule(false, 4.0, seed);
  }
}

TEST(Asha, RungsGrowByEtaAndEndAtTheFullResource) {
  EXPECT_THAT(rungs_between(1, 81, 3), ElementsAre(1, 3, 9, 27, 81));
  EXPECT_THAT(rungs_between(1, 52, 3), ElementsAre(1, 3, 9, 27, 52));
  EXPECT_THAT(rungs_between(0, 81, 3), ElementsAre(3, 9, 27, 81));
  EXPECT_THAT(rungs_between(2, 2, 3), ElementsAre(2));
  EXPECT_THAT(rungs_between(0.125, 1, 2), ElementsAre(0.125, 0.25, 0.5, 1));
}

TEST(Asha, RefusesBoundsThatMakeNoRungs) {
  EXPECT_THROW(rungs_between(10, 5, 3), Error);
  EXPECT_THROW(rungs_between(1, 9, 1), Error);
  EXPECT_THROW(make_scheduler("asha", {}), Error);
}

TEST(Asha, CountsAReportPastARungAtTheHighestRungReached) {
  Asha asha(options_for(27, true));
  asha.start(1, 0, 1);
  EXPECT_EQ(asha.judge(1, 0.5, 3.0), (Verdict{Decision::keep_going, 1.0}));
  const Verdict verdict = asha.judge(1, 10.0, 3.0);
  EXPECT_EQ(verdict.decision, Decision::pause);
  asha.record(1, 10.0, 3.0, verdict);
  asha.start(1, 0, 27.0);
  EXPECT_EQ(asha.judge(1, 27.0, 1.0).decision, Decision::complete);
}

TEST(Asha, ATrialStoppedByHandIsNotPromoted) {
  Asha asha(options_for(9, true));
  for (TrialId trial = 1; trial <= 3; ++trial) {
    asha.start(trial, 0, 1);
    asha.record(trial, 1, trial, {.decision = Decision::pause});
  }
  EXPECT_EQ(asha.offer({}).trial, 1u);
  asha.end(1, TrialState::stopped);
  EXPECT_EQ(asha.offer({}).kind, Offer::Kind::fresh);
  EXPECT_EQ(asha.offer({.may_start = false}).kind, Offer::Kind::wait);
}

TEST(Asha, BracketsShareTheBudgetAndTheLateShareRunsStraightThrough) {
  SchedulerOptions options = options_for(27, true);
  options.brackets = 2;
  Asha asha(options);
  std::map<double, int> starts;
  for (TrialId trial = 1; trial <= 130; ++trial) {
    const Offer offer = asha.offer({});
    asha.start(trial, offer.bracket, offer.to);
    ++starts[offer.to];
  }
  EXPECT_EQ(starts[1], 90);  // 27/4 : 9/3
  EXPECT_EQ(starts[3], 40);

  SchedulerOptions late = options_for(27, true);
  late.late_share = 1.0 / 3.0;
  Asha ramp(late);
  int straight = 0;
  for (TrialId trial = 1; trial <= 300; ++trial) {
    const Offer offer = ramp.offer({.spent = trial / 300.0});
    ramp.start(trial, offer.bracket, offer.to);
    straight += offer.to == 27.0 ? 1 : 0;
  }
  EXPECT_NEAR(straight, 12 + 151, 1);  // a ramp from 0 to 1/6 over the first half, then all
}

TEST(Asha, DecidesInLogarithmicTimeOverAHundredThousandTrials) {
  Asha asha(options_for(81, true));
  Random random(5);
  std::size_t complete = 0;
  for (TrialId fresh = 0; fresh < 100'000;) {
    const Offer offer = asha.offer({});
    const TrialId trial = offer.kind == Offer::Kind::fresh ? ++fresh : offer.trial;
    asha.start(trial, offer.bracket, offer.to);
    double to = offer.to;
    for (Verdict verdict; verdict.decision == Decision::keep_going; to = verdict.to) {
      const double loss = random.uniform();
      verdict = asha.judge(trial, to, loss);
      asha.record(trial, to, loss, verdict);
      complete += verdict.decision == Decision::complete ? 1 : 0;
    }
  }
  EXPECT_NEAR(static_cast<double>(complete), 100'000 / 81.0, 150);
}

}  // namespace
}  // namespace muster::hpo
