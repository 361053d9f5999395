// How trials are packed on workers: who gets which, by memory, and what a death for want of memory
// changes. Workers are scripted; the runner is the real one.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <map>

#include "launcher/sweep/worker_runner.h"

namespace muster {
namespace {

using hpo::TrialEvent;
using hpo::TrialState;

/// What a worker does, as a test says it.
struct Script {
  std::string name;
  std::size_t slots = 1;
  std::vector<std::string> orders;  // that it got
  std::vector<std::string> says;    // to be received next
  std::optional<WorkerEnd> end;
  bool can_be_renewed = false;
  bool has_joined = false;
};

class ScriptedLink final : public WorkerLink {
 public:
  explicit ScriptedLink(Script& script) : script_(script) {}
  std::string name() const override { return script_.name; }
  std::size_t slots() const override { return script_.slots; }
  void send(std::string_view lines) override { script_.orders.emplace_back(lines); }
  bool renew() override {
    if (script_.can_be_renewed) {
      script_.end = WorkerEnd{.text = "ended", .is_leaving = true};
      script_.has_joined = false;
    }
    return script_.can_be_renewed;
  }
  std::optional<WorkerEnd> ended() override { return std::exchange(script_.end, std::nullopt); }
  void receive(std::vector<std::string>& lines) override {
    for (auto& line : std::exchange(script_.says, {})) {
      lines.push_back(std::move(line));
    }
  }

 private:
  Script& script_;
};

class ScriptedSource final : public WorkerSource {
 public:
  explicit ScriptedSource(std::vector<Script>& scripts) : scripts_(scripts) {}
  std::vector<std::unique_ptr<WorkerLink>> joined() override {
    std::vector<std::unique_ptr<WorkerLink>> links;
    for (auto& script : scripts_) {
      if (!std::exchange(script.has_joined, true)) {
        links.push_back(std::make_unique<ScriptedLink>(script));
      }
    }
    return links;
  }

 private:
  std::vector<Script>& scripts_;
};

class Packing : public testing::Test {
 protected:
  void open(std::vector<Script> scripts, WorkerRunnerPlan plan = {}) {
    scripts_ = std::move(scripts);
    source_ = std::make_unique<ScriptedSource>(scripts_);
    runner_ = std::make_unique<WorkerRunner>(plan, std::vector<WorkerSource*>{source_.get()},
                                             space_, clock_);
    poll();
  }
  std::vector<TrialEvent> poll() { return runner_->poll(clock_.now()); }
  void start(hpo::TrialId trial) {
    hpo::Launch launch;
    launch.trial = trial;
    launch.config = space_.config({{"lr", "0.5"}});
    runner_->start(launch, std::move(*runner_->seat(trial, 1)));
  }
  static std::string line(WorkerEvent::Kind kind, std::uint32_t trial, std::uint64_t memory) {
    WorkerEvent event;
    event.kind = kind;
    event.trial = trial;
    event.memory = memory;
    event.resource = 1;
    event.value = 0.5;
    return line_of(event);
  }
  /// The trial has been seen to take so much where it ran, and is over.
  void learn(Script& script, std::uint32_t trial, std::uint64_t memory) {
    start(trial);
    WorkerEvent ended;
    ended.kind = WorkerEvent::Kind::ended;
    ended.trial = trial;
    ended.state = "preempted";
    ended.memory = memory;
    script.says = {line_of(ended)};
    poll();
  }
  static std::string ended(std::uint32_t trial, const std::string& state = "complete") {
    WorkerEvent event;
    event.kind = WorkerEvent::Kind::ended;
    event.trial = trial;
    event.state = state;
    return line_of(event);
  }
  /// The trial has reached its end and was told so: it only has to write its model.
  void let_leave(Script& script, hpo::TrialId trial) {
    script.says = {line(WorkerEvent::Kind::report, trial, 0)};
    poll();
    hpo::Verdict verdict;
    verdict.decision = hpo::Decision::complete;
    runner_->answer(trial, verdict);
  }
  /// Says that memory was refused, and tells what becomes of the trial.
  TrialState refuse(Script& script, hpo::TrialId trial) {
    script.says = {ended(trial, "evicted")};
    const auto events = poll();
    return events.size() == 1 ? events[0].state : TrialState::queued;
  }
  bool has(const Script& script, int trial) const {
    const std::string words = "\"op\":\"start\",\"trial\":" + std::to_string(trial) + ",";
    return std::ranges::any_of(script.orders, [&](const std::string& order) {
      return order.find(words) != std::string::npos;
    });
  }

  hpo::Space space_ =
      hpo::Space::parse(std::vector<hpo::SpaceLine>{{"lr", "float 0 1", "sweep.ini:3"}});
  VirtualClock clock_;
  std::vector<Script> scripts_;
  std::unique_ptr<ScriptedSource> source_;
  std::unique_ptr<WorkerRunner> runner_;
};

TEST_F(Packing, ATrialThatIsPromotedComesBackWhenItHasLeft) {
  open({{.name = "one", .slots = 2}});
  start(1);
  scripts_[0].says = {line(WorkerEvent::Kind::report, 1, 0)};
  ASSERT_EQ(poll().size(), 1U);
  EXPECT_FALSE(runner_->seat(1, 1)) << "its verdict is not even said";
  hpo::Verdict verdict;
  verdict.decision = hpo::Decision::pause;
  runner_->answer(1, verdict);
  EXPECT_FALSE(runner_->seat(1, 1)) << "a slot is free, and it has not left its own";
  scripts_[0].says = {line(WorkerEvent::Kind::idle, 1, 0)};
  poll();
  scripts_[0].orders.clear();
  start(1);
  EXPECT_TRUE(has(scripts_[0], 1));
  scripts_[0].says = {line(WorkerEvent::Kind::report, 1, 0)};
  EXPECT_EQ(poll().size(), 1U) << "its reports are heard";
}

/// Who waits until all have left the sweep would wait for as long as it may.
TEST_F(Packing, AWorkerThatDiesWithATrialThatWasLeavingEndsAPoll) {
  open({{.name = "worker 0", .slots = 1}});
  start(1);
  let_leave(scripts_[0], 1);
  scripts_[0].end = WorkerEnd{.text = "was killed"};
  EXPECT_TRUE(runner_->poll(clock_.now() + std::chrono::hours(1)).empty());
  EXPECT_EQ(runner_->slots().leased(), 0U);
  scripts_[0].has_joined = false;
  EXPECT_TRUE(runner_->poll(clock_.now() + std::chrono::hours(1)).empty()) << "it is back";
  EXPECT_EQ(runner_->slots().free(), 1U);
}

TEST_F(Packing, ATrialGoesWhereItFitsBest) {
  open({{.name = "small", .slots = 2}, {.name = "large", .slots = 2}});
  scripts_[0].says = {line(WorkerEvent::Kind::ready, 0, 500)};
  poll();
  learn(scripts_[0], 1, 100);
  learn(scripts_[0], 2, 800);
  scripts_[1].says = {line(WorkerEvent::Kind::ready, 0, 1000)};
  poll();
  scripts_[0].orders.clear();
  start(1);
  EXPECT_TRUE(has(scripts_[0], 1)) << "400 are left there, 900 on the other";
  start(2);
  EXPECT_TRUE(has(scripts_[1], 2)) << "it fits nowhere else";
}

TEST_F(Packing, TrialsSpreadBeforeTheyShare) {
  open({{.name = "worker 0", .slots = 2}, {.name = "worker 1", .slots = 2}});
  for (auto& script : scripts_) {
    script.says = {line(WorkerEvent::Kind::ready, 0, 1000)};
  }
  poll();
  start(1);
  start(2);
  EXPECT_TRUE(has(scripts_[0], 1));
  EXPECT_TRUE(has(scripts_[1], 2));
}

TEST_F(Packing, AWorkerThatDiedForWantOfMemoryTakesOneFewerWhenItIsBack) {
  open({{.name = "worker 0", .slots = 3}});
  for (const hpo::TrialId trial : {1, 2, 3}) {
    start(trial);
  }
  scripts_[0].end = WorkerEnd{.text = "was killed", .had_no_memory = true};
  const auto events = poll();
  ASSERT_EQ(events.size(), 3U);
  for (const auto& event : events) {
    EXPECT_EQ(event.state, TrialState::evicted) << "which costs no retry";
  }
  scripts_[0].has_joined = false;
  poll();
  EXPECT_EQ(runner_->slots().count(), 2U);
}

TEST_F(Packing, ATrialThatWasRefusedMemoryWaitsUntilTheOthersHaveGone) {
  open({{.name = "worker 0", .slots = 2}});
  start(1);
  start(2);
  let_leave(scripts_[0], 1);  // which still takes memory
  EXPECT_EQ(refuse(scripts_[0], 2), TrialState::evicted);
  EXPECT_EQ(runner_->slots().free(), 0U) << "the other is still there";
  scripts_[0].says = {line(WorkerEvent::Kind::idle, 1, 0)};
  poll();
  EXPECT_EQ(runner_->slots().free(), 1U);
  EXPECT_EQ(runner_->slots().count(), 1U) << "one at once from here on";
}

TEST_F(Packing, ATrialIsBlamedForItsMemoryOnlyWhenItHadAllOfItToItself) {
  open({{.name = "worker 0", .slots = 1}, {.name = "worker 1", .slots = 1}});
  start(1);
  for (int times = 1; times <= 5; ++times) {
    start(2);
    EXPECT_EQ(refuse(scripts_[1], 2), TrialState::evicted) << "beside another worker's trial";
    EXPECT_EQ(runner_->slots().free(), 0U) << "worker 1 rests";
    scripts_[0].says = {ended(1)};
    poll();
    EXPECT_EQ(runner_->slots().free(), 2U);
    start(1);
  }
  scripts_[0].says = {ended(1)};
  poll();
  for (int times = 1; times <= 3; ++times) {
    start(2);
    EXPECT_EQ(refuse(scripts_[0], 2), times < 3 ? TrialState::evicted : TrialState::failed);
  }
}

TEST_F(Packing, TrialsThatAreRefusedMemoryTogetherComeOneByOne) {
  open({{.name = "worker 0", .slots = 1}, {.name = "worker 1", .slots = 1}});
  for (int times = 1; times <= 5; ++times) {
    start(1);
    start(2);
    EXPECT_EQ(refuse(scripts_[0], 1), TrialState::evicted);
    EXPECT_EQ(refuse(scripts_[1], 2), TrialState::evicted)
        << "it was not alone when it was refused";
    ASSERT_EQ(runner_->slots().free(), 1U) << "the next has the memory to itself";
    start(1);
    EXPECT_EQ(runner_->slots().free(), 0U);
    scripts_[1].says = {ended(1)};
    poll();
    EXPECT_EQ(runner_->slots().free(), 2U);
  }
}

TEST_F(Packing, ATrialThatIsRefusedMemoryAloneComesAgainInAFreshProcess) {
  open({{.name = "worker 0", .slots = 2, .can_be_renewed = true}});
  start(1);
  start(2);
  EXPECT_EQ(refuse(scripts_[0], 2), TrialState::evicted);
  scripts_[0].says = {ended(1)};
  poll();
  for (int times = 1; times <= 3; ++times) {
    start(2);
    EXPECT_EQ(refuse(scripts_[0], 2), times < 3 ? TrialState::evicted : TrialState::failed);
    EXPECT_EQ(runner_->slots().count(), 0U) << "it is on its way out";
    poll();
    poll();
    EXPECT_EQ(runner_->slots().count(), 1U) << "fewer at once in the next one too";
  }
}

TEST_F(Packing, WorkersOfOtherMachinesAreNoCompany) {
  open({{.name = "worker a", .slots = 1}, {.name = "worker b", .slots = 1}});
  for (auto& script : scripts_) {
    WorkerEvent ready;
    ready.memory = 1000;
    ready.machine = script.name;
    script.says = {line_of(ready)};
  }
  poll();
  start(1);
  for (int times = 1; times <= 3; ++times) {
    start(2);
    EXPECT_EQ(refuse(scripts_[1], 2), times < 3 ? TrialState::evicted : TrialState::failed);
    EXPECT_EQ(runner_->slots().free(), 1U);
  }
}

TEST_F(Packing, WorkersOnOtherCardsAreNoCompany) {
  open({{.name = "worker 0", .slots = 1}, {.name = "worker 1", .slots = 1}});
  for (auto& script : scripts_) {
    WorkerEvent ready;
    ready.memory = 1000;
    ready.machine = "a machine";
    ready.card = "the card of " + script.name;
    script.says = {line_of(ready)};
  }
  poll();
  start(1);
  start(2);
  EXPECT_EQ(refuse(scripts_[1], 2), TrialState::evicted);
  EXPECT_EQ(runner_->slots().free(), 1U) << "it may try again at once: it was alone on its card";
}

TEST_F(Packing, AWorkerThatDiedForWantOfMemoryBesideAnotherRestsUntilThatOnesTrialHasGone) {
  open({{.name = "worker 0", .slots = 1}, {.name = "worker 1", .slots = 1}});
  start(1);
  start(2);
  scripts_[1].end = WorkerEnd{.text = "was killed", .had_no_memory = true};
  const auto events = poll();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].state, TrialState::evicted);
  scripts_[1].has_joined = false;
  poll();
  EXPECT_EQ(runner_->slots().free(), 0U);
  scripts_[0].says = {ended(1)};
  poll();
  EXPECT_EQ(runner_->slots().free(), 2U);
}

/// Of two that were there when their worker died twice, each runs alone until it is known which.
TEST_F(Packing, OfTrialsWhoseWorkerDiesTwiceTheOneThatEndsItIsFound) {
  open({{.name = "w0", .slots = 2}});
  const auto die = [&] {
    scripts_[0].end = WorkerEnd{.text = "was killed"};
    auto events = poll();
    scripts_[0].has_joined = false;
    return events;
  };
  for (int deaths = 1; deaths <= 2; ++deaths) {
    poll();
    start(1);
    start(2);
    for (const auto& event : die()) {
      EXPECT_EQ(event.state, TrialState::preempted);
    }
  }
  poll();
  EXPECT_EQ(runner_->slots().count(), 1U);
  start(2);
  scripts_[0].says = {ended(2)};
  EXPECT_EQ(poll().at(0).state, TrialState::complete);
  start(1);
  EXPECT_EQ(die().at(0).state, TrialState::preempted);
  poll();
  start(1);
  const auto events = die();
  EXPECT_EQ(events.at(0).state, TrialState::failed);
  poll();
  EXPECT_EQ(runner_->slots().count(), 2U);
}

TEST_F(Packing, ATrialThatKillsItsWorkerAloneHasFailedAtTheThirdTime) {
  open({{.name = "worker 0", .slots = 1}});
  for (int death = 1; death <= 3; ++death) {
    start(1);
    scripts_[0].end = WorkerEnd{.text = "was killed", .had_no_memory = true};
    const auto events = poll();
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].state, death < 3 ? TrialState::evicted : TrialState::failed);
    scripts_[0].has_joined = false;
    poll();
  }
}

}  // namespace
}  // namespace muster
