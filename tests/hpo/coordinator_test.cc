// SPDX-License-Identifier: Apache-2.0
#include "hpo/coordinator.h"

#include <gtest/gtest.h>

#include <semaphore>

#include "hpo/simulated_runner.h"
#include "runtime/base/error.h"
#include "tests/hpo/sweep_fixture.h"

namespace muster::hpo {
namespace {

class CoordinatorTest : public SweepFixture {
 protected:
  Coordinator::Outcome run(const StudySetup& setup, Simulation simulation, std::size_t workers,
                           CoordinatorOptions options = {}) {
    options.thinks_aside = false;
    study_ = std::make_unique<Study>(setup, journal(), clock_, files_);
    SimulatedRunner runner(std::move(simulation), workers, clock_);
    Coordinator coordinator(*study_, runner, clock_, options);
    const auto outcome = coordinator.run();
    busy_seconds_ = runner.busy_seconds();
    return outcome;
  }
  std::size_t count(TrialState state) const {
    std::size_t n = 0;
    for (const Trial& trial : study_->state().trials()) {
      n += trial.state == state ? 1 : 0;
    }
    return n;
  }
  VirtualClock clock_;
  std::unique_ptr<Study> study_;
  double busy_seconds_ = 0.0;
};

TEST_F(CoordinatorTest, TenThousandTrialsOnTwoHundredFiftySixWorkers) {
  StudySetup setup = small_setup("asha", 27);
  setup.limits.max_trials = 10'000;
  const Monotonic start = clock_.now();
  const auto outcome = run(setup,
                           {.value = bowl,
                            .seconds = [](const Config& c) { return 0.5 + c.values[1] / 8.0; },
                            .report_every = 27.0},
                           256);
  EXPECT_EQ(outcome, Coordinator::Outcome::finished);
  EXPECT_EQ(study_->state().trials().size(), 10'000u);
  EXPECT_EQ(count(TrialState::running), 0u);
  EXPECT_GT(count(TrialState::complete), 200u);
  EXPECT_LT(*study_->state().best()->value, 0.06);
  const double elapsed = std::chrono::duration<double>(clock_.now() - start).count();
  EXPECT_GT(busy_seconds_ / (256.0 * elapsed), 0.8);  // the drain at the end included
}

TEST_F(CoordinatorTest, HyperbandFillsItsSlotsAcrossBrackets) {
  StudySetup setup = small_setup("hyperband", 81);
  setup.limits.max_trials = 143;
  run(setup, {.value = bowl, .report_every = 81.0}, 16);
  EXPECT_EQ(count(TrialState::complete), 10u);
  EXPECT_EQ(count(TrialState::paused), 133u);
}

TEST_F(CoordinatorTest, FailuresEvictionsAndPreemptionsLoseNoTrial) {
  StudySetup setup = small_setup("asha", 9);
  setup.limits.max_trials = 300;
  setup.retries = 2;
  Random random(4);
  Simulation simulation{.value = bowl};
  simulation.fault = [&random](const Launch&, double) -> std::optional<TrialState> {
    const double u = random.uniform();
    return u < 0.02   ? std::optional(TrialState::failed)
           : u < 0.06 ? std::optional(TrialState::evicted)
           : u < 0.12 ? std::optional(TrialState::preempted)
                      : std::nullopt;
  };
  EXPECT_EQ(run(setup, simulation, 20), Coordinator::Outcome::finished);
  EXPECT_EQ(study_->state().trials().size(), 300u);
  EXPECT_EQ(count(TrialState::queued) + count(TrialState::preempted) + count(TrialState::evicted),
            0u);
  for (const Trial& trial : study_->state().trials()) {
    EXPECT_EQ(trial.state == TrialState::failed, trial.failures == 3u);
    for (std::size_t i = 1; i < trial.curve.size(); ++i) {
      EXPECT_GT(trial.curve[i].resource, trial.curve[i - 1].resource);
    }
  }
}

TEST_F(CoordinatorTest, FirstTrialsThatFailDoNotEndTheSweepUntilMaxFailures) {
  StudySetup setup = small_setup();
  setup.limits.max_trials = 20;
  setup.retries = 0;
  int launches = 0;
  Simulation simulation{.value = bowl};
  simulation.fault = [&launches](const Launch&, double) {
    return ++launches <= 8 ? std::optional(TrialState::failed) : std::nullopt;
  };
  run(setup, simulation, 1);
  EXPECT_EQ(count(TrialState::failed), 8u);
  EXPECT_EQ(count(TrialState::complete), 12u);

  StudySetup limited = small_setup();
  limited.seed = 2;
  limited.limits.max_failures = 5;
  limited.retries = 0;
  posix_file_system().remove(journal());
  run(limited,
      {.value = bowl,
       .fault = [](const Launch&, double) { return std::optional(TrialState::failed); }},
      3);
  EXPECT_NE(study_->state().over()->find("tune.max_failures"), std::string::npos);
}

TEST_F(CoordinatorTest, WorkersJoinAndLeave) {
  StudySetup setup = small_setup("asha", 9);
  setup.limits.max_trials = 100;
  study_ = std::make_unique<Study>(setup, journal(), clock_, files_);
  SimulatedRunner runner({.value = bowl}, 0, clock_);
  runner.at(clock_.now() + std::chrono::seconds(5), [&] { runner.slots().resize(4); });
  runner.at(clock_.now() + std::chrono::seconds(20), [&] {
    runner.slots().resize(1);
    runner.preempt(2);
    runner.preempt(3);
  });
  runner.at(clock_.now() + std::chrono::seconds(40), [&] { runner.slots().resize(8); });
  Coordinator coordinator(*study_, runner, clock_, {.thinks_aside = false});
  EXPECT_EQ(coordinator.run(), Coordinator::Outcome::finished);
  EXPECT_EQ(count(TrialState::running) + count(TrialState::preempted), 0u);
}

TEST_F(CoordinatorTest, AFinishedSweepEndsWithoutAnyWorker) {
  StudySetup setup = small_setup();
  setup.limits.max_trials = 2;
  run(setup, {.value = bowl}, 1);
  EXPECT_EQ(run(setup, {.value = bowl}, 0), Coordinator::Outcome::finished);
}

TEST_F(CoordinatorTest, TermSavesEverythingAndTheSameCommandGoesOn) {
  StudySetup setup = small_setup("asha", 9);
  setup.limits.max_trials = 50;
  {
    study_ = std::make_unique<Study>(setup, journal(), clock_, files_);
    SimulatedRunner runner({.value = bowl}, 4, clock_);
    Coordinator coordinator(*study_, runner, clock_, {.thinks_aside = false});
    runner.at(clock_.now() + std::chrono::seconds(10), [&] { coordinator.suspend(); });
    EXPECT_EQ(coordinator.run(), Coordinator::Outcome::suspended);
    EXPECT_EQ(count(TrialState::preempted), 4u);
  }
  EXPECT_EQ(run(setup, {.value = bowl}, 4), Coordinator::Outcome::finished);
  EXPECT_EQ(study_->state().trials().size(), 50u);
}

TEST_F(CoordinatorTest, WallTimeEndsWhatRuns) {
  StudySetup setup = small_setup("asha", 9);
  setup.limits.max_wall = 12.5;
  run(setup, {.value = bowl}, 4);
  EXPECT_NEAR(study_->now(), 12.5, 0.01);
  EXPECT_EQ(count(TrialState::running), 0u);
  EXPECT_NE(study_->state().over()->find("tune.max_wall"), std::string::npos);
}

TEST_F(CoordinatorTest, FilesInControlSteerARunningSweep) {
  StudySetup setup = small_setup("asha", 9);
  setup.limits.max_trials = 5;
  const Path control = directory_ / "control";
  post(control, "1", R"({"op":"set","max_trials":8})");
  post(control, "2", R"({"op":"enqueue","params":{"depth":3}})");
  post(control, "3", R"({"op":"stop","trial":77})");
  post(control, "4", R"({"op":"sing"})");
  run(setup, {.value = bowl}, 2, {.control = control});
  EXPECT_EQ(study_->state().trials().size(), 8u);
  EXPECT_EQ(study_->state().find(1)->origin, "enqueued");
  EXPECT_EQ(study_->state().find(1)->config.values[1], 3.0);
  EXPECT_NE(answer_to(control, "1")->find("\"max_trials\":8"), std::string::npos);
  EXPECT_NE(answer_to(control, "3")->find("unknown_trial"), std::string::npos);
  EXPECT_NE(answer_to(control, "4")->find("field"), std::string::npos);
  EXPECT_FALSE(answer_to(control, "4"));
}

TEST_F(CoordinatorTest, StopByControlEndsTheSweepAndResumesLater) {
  StudySetup setup = small_setup("asha", 9);
  setup.limits.max_trials = 50;
  const Path control = directory_ / "control";
  post(control, "1", R"({"op":"stop"})");
  EXPECT_EQ(run(setup, {.value = bowl}, 2, {.control = control}), Coordinator::Outcome::stopped);
  EXPECT_EQ(*study_->state().over(), stopped_by_hand);
  EXPECT_EQ(run(setup, {.value = bowl}, 2, {.control = control}), Coordinator::Outcome::finished);
}

/// A searcher that thinks until it is allowed to answer.
class SlowSearcher final : public Searcher {
 public:
  explicit SlowSearcher(Searcher& inner) : inner_(inner) {}
  std::optional<Proposal> propose(const Question& question) override {
    started.release();
    allowed.acquire();
    return inner_.propose(question);
  }
  void restore(std::string_view) override {}
  std::counting_semaphore<> started{0}, allowed{0};

 private:
  Searcher& inner_;
};

TEST_F(CoordinatorTest, ASlowFitDelaysNoDecision) {
  StudySetup setup = small_setup();
  Study study(setup, journal(), clock_, files_);
  SlowSearcher slow(study.searcher());
  std::binary_semaphore ready{0};
  Proposer proposer(slow, [&] { ready.release(); });
  proposer.ask(study.question());
  slow.started.acquire();
  EXPECT_FALSE(proposer.take());  // does not wait
  // Reports are told and decided meanwhile.
  const TrialId mine = study.enqueue(Config{{1e-2, 4, 0}});
  study.launch(study.next());
  EXPECT_EQ(std::get<Verdict>(study.tell({.trial = mine, .value = 1.0})).decision,
            Decision::complete);
  slow.allowed.release();
  ready.acquire();
  const auto answer = proposer.take();
  ASSERT_TRUE(answer && answer->proposal);
  EXPECT_EQ(answer->proposal->seen, 0u);
  EXPECT_FALSE(proposer.is_busy());
}

/// A sweep under a model in which a result arrives during each proposal: `aside`, while the model
/// thinks on its own thread; else before it begins. Its question is as old in both.
std::string table_of_a_modelled_sweep(Study& study, bool aside) {
  std::binary_semaphore ready{0};
  Proposer proposer(study.searcher(),
                    aside ? std::function<void()>([&] { ready.release(); }) : nullptr);
  const auto run = [&](TrialId trial) {
    study.launch({.kind = Next::Kind::launch, .trial = trial, .offer = study.next().offer});
    study.tell({.trial = trial, .value = bowl(study.state().find(trial)->config, 1.0)});
  };
  for (int round = 0; round < 30; ++round) {
    OwnedQuestion question = study.question();
    if (aside) {
      proposer.ask(std::move(question));
    }
    Random random(7, static_cast<std::uint64_t>(round));
    for (int i = 0; i < 3; ++i) {
      run(study.enqueue(study.setup().space.sample(random)));
    }
    if (aside) {
      ready.acquire();
    } else {
      proposer.ask(std::move(question));
    }
    study.accept(proposer.take().value().proposal);
    run(study.state().proposed().front());
  }
  return final_table(study.state());
}

TEST_F(CoordinatorTest, AModelThinksOfTheSameWhileResultsArrive) {
  StudySetup setup = small_setup();
  setup.searcher = "bayesian";
  Study here(setup, directory_ / "here", clock_, files_);
  Study aside(setup, directory_ / "aside", clock_, files_);
  EXPECT_EQ(table_of_a_modelled_sweep(aside, true), table_of_a_modelled_sweep(here, false));
  const auto is_model = [](const Trial& trial) { return trial.origin == "model"; };
  EXPECT_GT(std::ranges::count_if(aside.state().trials(), is_model), 20);
}

TEST_F(CoordinatorTest, ASearcherThatThrowsIsHeard) {
  class Broken final : public Searcher {
    std::optional<Proposal> propose(const Question&) override { throw Error(Fault::bug, "broken"); }
    void restore(std::string_view) override {}
  } broken;
  Proposer proposer(broken, nullptr);
  proposer.ask({});
  EXPECT_THROW(proposer.take(), Error);
}

}  // namespace
}  // namespace muster::hpo
