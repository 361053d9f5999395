// SPDX-License-Identifier: Apache-2.0
#include "hpo/study.h"

#include <gtest/gtest.h>

#include <limits>

#include "runtime/base/error.h"
#include "tests/hpo/sweep_fixture.h"

namespace muster::hpo {
namespace {

using Code = Refusal::Code;

class StudyTest : public SweepFixture {
 protected:
  std::unique_ptr<Study> open(const StudySetup& setup) {
    return std::make_unique<Study>(setup, journal(), clock_, files_);
  }
  static TrialId start_one(Study& study) {
    Next next = study.next();
    if (next.kind == Next::Kind::propose) {
      study.propose();
      next = study.next();
    }
    EXPECT_EQ(next.kind, Next::Kind::launch);
    return study.launch(next).trial;
  }
  static Code code_of(const std::variant<Verdict, Refusal>& answer) {
    return std::get<Refusal>(answer).code;
  }
  VirtualClock clock_;
};

TEST_F(StudyTest, ASweepEndsAfterItsTrials) {
  StudySetup setup = small_setup();
  setup.limits.max_trials = 3;
  const auto study = open(setup);
  for (int i = 0; i < 3; ++i) {
    const TrialId trial = start_one(*study);
    study->tell({.trial = trial, .value = 3.0 - i});
  }
  const Next next = study->next();
  EXPECT_EQ(next.kind, Next::Kind::done);
  EXPECT_EQ(next.reason, "3 trials (tune.max_trials)");
  EXPECT_EQ(study->state().best()->id, 3u);
}

TEST_F(StudyTest, TheSameTellGetsTheSameAnswerAndAnotherValueConflicts) {
  const auto study = open(small_setup("asha", 9));
  const TrialId trial = start_one(*study);
  const auto first = study->tell({.trial = trial, .resource = 0.5, .value = 1.0});
  EXPECT_EQ(first, study->tell({.trial = trial, .resource = 0.5, .value = 1.0}));
  EXPECT_EQ(code_of(study->tell({.trial = trial, .resource = 0.5, .value = 2.0})), Code::conflict);
  EXPECT_EQ(code_of(study->tell({.trial = trial, .resource = 0.25, .value = 2.0})), Code::field);
  const auto paused = study->tell({.trial = trial, .resource = 1, .value = 1.0});
  EXPECT_EQ(std::get<Verdict>(paused).decision, Decision::pause);
  EXPECT_EQ(paused, study->tell({.trial = trial, .resource = 1, .value = 1.0}));
  EXPECT_EQ(code_of(study->tell({.trial = trial, .resource = 2, .value = 1.0})), Code::closed);
  EXPECT_EQ(code_of(study->tell({.trial = 99, .value = 1.0})), Code::unknown_trial);
  EXPECT_EQ(study->state().trials().front().curve.size(), 2u);
}

TEST_F(StudyTest, NotANumberStopsTheTrialAsAFailure) {
  const auto study = open(small_setup());
  const TrialId trial = start_one(*study);
  const auto answer =
      study->tell({.trial = trial, .value = std::numeric_limits<double>::infinity()});
  EXPECT_EQ(std::get<Verdict>(answer).decision, Decision::stop);
  EXPECT_EQ(study->state().find(trial)->state, TrialState::failed);
  EXPECT_EQ(study->state().find(trial)->reason, "nan");
  EXPECT_TRUE(study->state().history()[0].failed);
}

TEST_F(StudyTest, FailuresAreRetriedEvictionsAndPreemptionsAreFree) {
  StudySetup setup = small_setup();
  setup.retries = 1;
  const auto study = open(setup);
  const TrialId trial = start_one(*study);
  for (const TrialState state :
       {TrialState::evicted, TrialState::preempted, TrialState::evicted, TrialState::failed}) {
    study->end(trial, state, "x");
    const Next next = study->next();
    ASSERT_EQ(next.kind, Next::Kind::launch);
    ASSERT_EQ(next.trial, trial);
    ASSERT_TRUE(next.again);
    study->launch(next);
  }
  study->end(trial, TrialState::failed, "again");
  EXPECT_EQ(study->state().find(trial)->state, TrialState::failed);
  EXPECT_EQ(study->state().find(trial)->failures, 2u);
}

TEST_F(StudyTest, ATrialWithoutAValueFails) {
  const auto study = open(small_setup());
  const TrialId trial = start_one(*study);
  study->end(trial, TrialState::complete, "");
  EXPECT_EQ(study->state().find(trial)->state, TrialState::failed);
  EXPECT_NE(study->state().find(trial)->reason.find("loss"), std::string::npos);
}

TEST_F(StudyTest, AfterARestartTrialsThatWereOutComeFirst) {
  StudySetup setup = small_setup("asha", 9);
  std::vector<TrialId> out;
  {
    const auto study = open(setup);
    for (int i = 0; i < 3; ++i) {
      out.push_back(start_one(*study));
    }
    study->tell({.trial = out[1], .resource = 0.5, .value = 1.0});
    study->commit();
  }
  const auto study = open(setup);
  const Next first = study->next({out[0]});
  EXPECT_EQ(first.trial, out[1]);
  EXPECT_TRUE(first.again);
  EXPECT_EQ(study->launch(first).from, 0.5);
  // It may repeat what it had reported; the value that was told first stands.
  EXPECT_EQ(std::get<Verdict>(study->tell({.trial = out[1], .resource = 0.5, .value = 1.1})).to,
            1.0);
  EXPECT_EQ(study->next({out[0]}).trial, out[2]);
  // The one that is held is told as if nothing had happened.
  EXPECT_TRUE(std::holds_alternative<Verdict>(study->tell({.trial = out[0], .value = 1.0})));
}

TEST_F(StudyTest, ReplayGivesTheSameStateAndTheSameNextTrial) {
  StudySetup setup = small_setup("asha", 27);
  setup.limits.max_trials = 60;
  auto study = open(setup);
  for (int round = 0; round < 400; ++round) {
    const Next next = study->next();
    if (next.kind == Next::Kind::done) {
      break;
    }
    if (next.kind == Next::Kind::propose) {
      study->propose();
      continue;
    }
    if (next.kind == Next::Kind::wait) {  // for those that were told to go on: they come again
      study->requeue_running("restart");
      continue;
    }
    const Launch launch = study->launch(next);
    study->tell({.trial = launch.trial,
                 .resource = launch.to,
                 .value = bowl(launch.config, launch.to),
                 .metrics = {{"accuracy", 0.5}}});
    if (round % 7 == 0) {
      study->commit();
      const std::string before = final_table(study->state());
      study.reset();
      study = open(setup);
      ASSERT_EQ(final_table(study->state()), before);
      study->requeue_running("restart");
    }
  }
  EXPECT_EQ(study->state().trials().size(), 60u);
}

TEST_F(StudyTest, AnotherSweepDoesNotContinueTheJournal) {
  open(small_setup())->commit();
  StudySetup other = small_setup();
  other.seed = 5;
  EXPECT_THROW(open(other), Error);
}

TEST_F(StudyTest, RaisedLimitsReopenAFinishedSweep) {
  StudySetup setup = small_setup();
  setup.limits.max_trials = 1;
  {
    const auto study = open(setup);
    study->tell({.trial = start_one(*study), .value = 1.0});
    EXPECT_EQ(study->next().kind, Next::Kind::done);
    study->commit();
  }
  {
    const auto again = open(setup);
    EXPECT_EQ(again->next().kind, Next::Kind::done);
  }
  setup.limits.max_trials = 2;
  {
    const auto more = open(setup);
    more->tell({.trial = start_one(*more), .value = 1.0});
    EXPECT_EQ(more->next().kind, Next::Kind::done);
    Limits limits = more->state().limits();
    limits.max_trials = 3;
    more->set_limits(limits);
    EXPECT_EQ(more->next().kind, Next::Kind::propose);
    more->commit();
  }
  EXPECT_EQ(open(setup)->state().limits().max_trials, 3.0);  // set by hand outlives the restart
}

TEST_F(StudyTest, ATargetStopsTheTrialThatReachesItAndTheSweep) {
  StudySetup setup = small_setup("asha", 9);
  setup.objective = "max accuracy";
  setup.maximise = true;
  setup.limits.target = 0.9;
  const auto study = open(setup);
  const TrialId first = start_one(*study);
  const TrialId second = start_one(*study);
  const auto answer = study->tell({.trial = first, .resource = 0.5, .value = 0.95});
  EXPECT_EQ(std::get<Verdict>(answer).decision, Decision::stop);
  EXPECT_EQ(study->next().kind, Next::Kind::done);
  EXPECT_EQ(
      std::get<Verdict>(study->tell({.trial = second, .resource = 0.5, .value = 0.1})).decision,
      Decision::stop);
}

TEST_F(StudyTest, AddedResultsInformButCostNoTrial) {
  StudySetup setup = small_setup();
  setup.limits.max_trials = 1;
  const auto study = open(setup);
  const Config config{{1e-2, 4, 0}};
  study->add(config, std::nullopt, 0.25, false, "old");
  study->add(config, std::nullopt, 0.0, true, "old");
  EXPECT_EQ(study->state().best()->id, 1u);
  EXPECT_EQ(study->state().history().size(), 2u);
  EXPECT_EQ(study->state().asked(), 0u);
  EXPECT_EQ(start_one(*study), 3u);
}

TEST_F(StudyTest, EnqueuedTrialsGoFirst) {
  const auto study = open(small_setup());
  study->propose();
  const Config config{{1e-2, 4, 1}};
  const TrialId mine = study->enqueue(config);
  EXPECT_EQ(study->next().trial, mine);
}

TEST_F(StudyTest, StartingPointsComeFirstCompletedFromThePriors) {
  StudySetup setup = small_setup();
  const std::vector<SpaceLine> search = {{"lr", "log 1e-4 1e-1", "test:1"},
                                         {"depth", "int 1 8", "test:2"},
                                         {"kind", "choice mlp cnn", "test:3"}};
  const std::vector<SpaceLine> start = {{"start", "lr=0.01 depth=3 kind=cnn", "test:4"},
                                        {"start", "kind=mlp", "test:5"}};
  setup.space = Space::parse(search, {}, start);
  setup.limits.max_trials = 4;
  const auto study = open(setup);
  EXPECT_FALSE(study->state().has_begun());
  EXPECT_EQ(study->state().find(start_one(*study))->config, (Config{{0.01, 3, 1}}));
  EXPECT_EQ(study->state().find(start_one(*study))->config.values[2], 0.0);
  EXPECT_TRUE(study->state().has_begun());
  EXPECT_EQ(study->state().find(2)->origin, "start");
  EXPECT_EQ(study->next().kind, Next::Kind::propose);
  const std::string before = final_table(study->state());
  study->commit();
  EXPECT_EQ(final_table(open(setup)->state()), before) << "a second opening starts them again";
}

/// One slot, until the sweep is over.
void finish(Study& study) {
  while (true) {
    const Next next = study.next();
    if (next.kind == Next::Kind::done) {
      study.commit();
      return;
    }
    if (next.kind == Next::Kind::propose) {
      study.propose();
    } else {
      const Launch launch = study.launch(next);
      double to = launch.to;
      for (Verdict verdict; verdict.decision == Decision::keep_going; to = verdict.to) {
        const double reached = std::isfinite(to) ? to : 9.0;
        const auto resource = std::isfinite(to) ? std::optional(to) : std::nullopt;
        verdict = std::get<Verdict>(study.tell(
            {.trial = launch.trial, .resource = resource, .value = bowl(launch.config, reached)}));
      }
    }
    study.commit();
  }
}

TEST_F(StudyTest, EveryCutOfTheJournalContinuesToTheSameEnd) {
  StudySetup setup = small_setup("asha", 9);
  setup.limits.max_trials = 12;
  finish(*open(setup));
  const std::string expected = final_table(open(setup)->state());
  const std::string bytes = read_file(journal());
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    write_file_atomically(journal(), bytes.substr(0, cut));
    Study study(setup, journal(), clock_, files_);
    study.requeue_running("cut");
    finish(study);
    ASSERT_EQ(final_table(study.state()), expected) << "cut at byte " << cut;
  }
}

TEST_F(StudyTest, CutsOfASweepUnderAModelContinueToTheSameEnd) {
  StudySetup setup = small_setup();
  setup.searcher = "bayesian";
  setup.limits.max_trials = 16;
  finish(*open(setup));
  const std::string expected = final_table(open(setup)->state());
  const std::string bytes = read_file(journal());
  std::string opened;  // what a cut left: the same within a record, and then the sweep is the same
  std::size_t finished = 0;
  for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
    write_file_atomically(journal(), bytes.substr(0, cut));
    Study study(setup, journal(), clock_, files_);
    study.requeue_running("cut");
    study.commit();
    const std::string left = read_file(journal()) + final_table(study.state());
    if (left != opened) {
      opened = left;
      ++finished;
      finish(study);
      ASSERT_EQ(final_table(study.state()), expected) << "cut at byte " << cut;
    }
  }
  EXPECT_GT(finished, 2U * 16U);  // each trial was asked for and told
}

TEST_F(StudyTest, AFullDiskEndsTheSweepWithASentenceAndItGoesOnOnceThereIsRoom) {
  StudySetup setup = small_setup("asha", 9);
  setup.limits.max_trials = 12;
  finish(*open(setup));
  const std::string expected = final_table(open(setup)->state());
  const std::uint64_t size = read_file(journal()).size();
  for (std::uint64_t room = 0; room < size; room += 37) {
    posix_file_system().remove(journal());
    files_.room = room;
    try {
      finish(*open(setup));
      FAIL() << "with room for " << room << " bytes of " << size;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::io);
      EXPECT_NE(report(error).find("No space left on device"), std::string::npos) << report(error);
    }
    files_.room = ~std::uint64_t{0};
    Study study(setup, journal(), clock_, files_);
    study.requeue_running("full");
    finish(study);
    ASSERT_EQ(final_table(study.state()), expected) << "room for " << room << " bytes";
  }
}

TEST_F(StudyTest, CompactionDropsReplacedSearcherStatesAndNothingElse) {
  StudySetup setup = small_setup();
  setup.searcher = "bayesian";
  setup.limits.max_trials = 5000;
  {
    Random random(3);
    const auto study = open(setup);
    for (Next next = study->next(); next.kind != Next::Kind::done; next = study->next()) {
      if (next.kind == Next::Kind::propose) {
        const std::size_t seen = study->question().seen;
        std::string state = "gp 2 " + std::to_string(seen);
        for (int k = 0; k < 13; ++k) {  // lengths, signal, noise; the same of the parts; two warps
          state += " " + exact(-random.uniform());
        }
        study->accept(Proposal{setup.space.sample(random), "model", seen, state, {}});
      } else {
        const Launch launch = study->launch(next);
        study->tell({.trial = launch.trial, .value = bowl(launch.config, 1)});
      }
      study->commit();
    }
    study->commit();
  }
  SweepState whole(setup);
  read_journal(journal(), [&](std::string_view bytes) { whole.apply(decode(bytes)); });
  const std::string table = final_table(whole);
  const std::size_t before = read_file(journal()).size();
  EXPECT_EQ(final_table(open(setup)->state()), table);
  const std::size_t after = read_file(journal()).size();
  EXPECT_LT(after, before / 2) << before << " bytes before";
  setup.limits.max_trials = 5001;
  const auto more = open(setup);
  EXPECT_EQ(more->state().searcher_state().substr(0, 5), "gp 2 ");
  EXPECT_EQ(start_one(*more), 5001U);
}

TEST(Completion, ThreeTrialsWithoutOnePerCentEndTheSweep) {
  Completion completion(false);
  Limits limits;
  limits.patience = 3;
  completion.finished(1.0, true);
  completion.finished(0.995, true);  // half a per cent: no improvement
  completion.finished(0.992, true);
  EXPECT_FALSE(completion.all_over(limits, {}));
  completion.finished(0.98, true);  // 2 % below 1.0
  completion.finished(0.98, true);
  completion.finished(0.98, true);
  EXPECT_FALSE(completion.all_over(limits, {}));
  completion.finished(0.98, true);
  EXPECT_TRUE(completion.all_over(limits, {}));
}

TEST(Completion, ExactlyOnePerCentIsAnImprovementInBothDirections) {
  Completion maximise(true);
  maximise.finished(-1.0, true);
  for (int i = 0; i < 2; ++i) {
    maximise.finished(-1.0, true);
  }
  maximise.finished(-1.01, true);
  EXPECT_EQ(maximise.without_improvement(), 0u);
  Completion at_zero(false);
  at_zero.finished(0.0, true);
  at_zero.finished(-1e-9, true);
  EXPECT_EQ(at_zero.without_improvement(), 0u);
}

TEST(Completion, EachLimitHasItsReason) {
  Completion completion(false);
  completion.finished(0.4, true);
  completion.failed();
  const auto reason = [&](auto set, Completion::Spent spent = {}) {
    Limits limits;
    set(limits);
    return completion.all_over(limits, spent).value_or("none");
  };
  EXPECT_NE(reason([](Limits& l) { l.target = 0.4; }).find("tune.target"), std::string::npos);
  EXPECT_EQ(reason([](Limits& l) { l.target = 0.39; }), "none");
  EXPECT_NE(reason([](Limits& l) { l.max_wall = 5; }, {.wall = 5}).find("max_wall"),
            std::string::npos);
  EXPECT_NE(reason([](Limits& l) { l.max_slot_hours = 2; }, {.slot_hours = 2.5}).find("slot"),
            std::string::npos);
  EXPECT_NE(reason([](Limits& l) { l.max_failures = 1; }).find("max_failures"), std::string::npos);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(reason([](Limits& l) { l.converged = true; }), "none");
    completion.proposed(1e-4);
  }
  EXPECT_NE(reason([](Limits& l) { l.converged = true; }).find("converged"), std::string::npos);
  completion.proposed(0.5);
  EXPECT_EQ(reason([](Limits& l) { l.converged = true; }), "none");
}

TEST(Records, RandomBytesAreErrorsAndNeverRead) {
  Random random(20261121);
  int errors = 0;
  for (int round = 0; round < 200'000; ++round) {
    std::string bytes;
    const std::uint64_t size = random.below(24);
    for (std::uint64_t i = 0; i < size; ++i) {
      bytes.push_back(static_cast<char>(i == 0 ? random.below(11) : random.below(256)));
    }
    try {
      decode(bytes);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::io);
      ++errors;
    }
  }
  EXPECT_GT(errors, 100'000);
}

TEST(Records, EveryEventReadsBack) {
  const std::vector<Event> events = {
      SweepOpened{"space", 1.5},
      AttemptStarted{2.5},
      TrialAsked{7, {{0.5, 3.0}}, "model", true, 12, "theta", 0.25},
      TrialLaunched{7, 2, 9.0, 3, true},
      TrialReported{7, 9.0, 0.125, {Decision::keep_going, 27.0}, 1.5, {{0, 0.5}}, "{}"},
      TrialReported{7, std::nullopt, 0.125, {Decision::complete}, 0.0, {}, ""},
      TrialEnded{7, TrialState::evicted, false, "out of memory"},
      MetricNamed{0, "val_accuracy"},
      ResultAdded{8, {{1.0, 2.0}}, std::nullopt, 3.0, false, "old"},
      LimitsSet{{.max_trials = 10, .converged = true}, true},
      SweepOver{"done"},
      RowLent{2, {{1.0, 2.0}}, 3.0, 0.5, false},
      SlotsCounted{64}};
  for (const Event& event : events) {
    const Record record = decode(encode({12.25, event}));
    EXPECT_EQ(record.event, event);
    EXPECT_EQ(record.seconds, 12.25);
  }
}

}  // namespace
}  // namespace muster::hpo
