// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <csignal>
#include <cstdlib>

#include "launcher/engine/end_record.h"
#include "launcher/engine/engine.h"
#include "runtime/base/exit_codes.h"
#include "tests/launcher/programs.h"

namespace muster {
namespace {

using test::alive;
using test::eventually;
using testing::Contains;

struct Watched {
  std::map<int, Ended> ends;
  std::vector<std::string> lines;
  void take(const std::vector<RankEvent>& events) {
    for (const auto& event : events) {
      if (event.kind == RankEvent::Kind::ended) {
        ends[event.rank] = event.ended;
      } else {
        lines.push_back(std::to_string(event.rank) + " " + event.text);
      }
    }
  }
};

Watched watch(RankGroup& group) {
  Watched watched;
  EXPECT_TRUE(eventually(
      [&] {
        std::vector<RankEvent> events;
        group.poll(std::chrono::milliseconds(50), -1, events);
        watched.take(events);
        return !group.running();
      },
      60));
  return watched;
}

JobLaunch job(const test::TemporaryDirectory& directory, std::vector<std::string> words,
              int ranks = 2) {
  JobLaunch launch;
  launch.command = std::move(words);
  launch.command.insert(launch.command.begin(), test::program("muster_test_rank").string());
  launch.environment = {{"PATH", std::getenv("PATH")},
                        {"MUSTER_CHECKPOINT_DIR", directory.path().string()}};
  launch.ranks = ranks;
  return launch;
}

TEST(EndRecord, OfARankThatIsNotOverIsReadWhereNoOtherCame) {
  const test::TemporaryDirectory logs;
  RankEvent event;
  event.kind = RankEvent::Kind::ended;
  event.rank = 3;
  event.fault = Fault::bad_input;
  event.cause = "the data have a NaN";
  write_end_record(logs.path(), event, false);
  EXPECT_FALSE(read_end_record(logs.path(), 3));
  const auto told = read_end_record(logs.path(), 3, true);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->cause, "the data have a NaN");
  EXPECT_EQ(told->fault, Fault::bad_input);
  write_end_record(logs.path(), event);
  EXPECT_TRUE(read_end_record(logs.path(), 3));
}

TEST(LocalEngine, RanksMeetOnThePageAndFinish) {
  const test::TemporaryDirectory directory;
  const auto group = local_engine()->start(job(directory, {"--steps", "20", "--step-ms", "1"}));
  const auto watched = watch(*group);
  EXPECT_TRUE(watched.ends.at(0).finished());
  EXPECT_TRUE(watched.ends.at(1).finished());
  EXPECT_THAT(watched.lines, Contains("1 finished at step 20"));
  EXPECT_EQ(group->page()->slot(1).step, 20U);
  EXPECT_EQ(group->page()->header().last_checkpoint_step, 20U);
}

TEST(LocalEngine, ANoticeOnThePageSavesAndTheNextStartContinues) {
  const test::TemporaryDirectory directory;
  const auto launch = job(directory, {"--steps", "100000", "--step-ms", "1"});
  const auto group = local_engine()->start(launch);
  std::vector<RankEvent> events;
  ASSERT_TRUE(eventually([&] { return group->page()->slot(0).step > 5; }));
  group->page()->header().notice = Notice::preempted;
  const auto watched = watch(*group);
  EXPECT_EQ(watched.ends.at(0).code(), exit_saved);
  EXPECT_EQ(watched.ends.at(1).code(), exit_saved);
  const auto step = group->page()->slot(0).step.load();
  EXPECT_EQ(step, group->page()->slot(1).step);
  const auto again =
      local_engine()->start(job(directory, {"--steps", std::to_string(step), "--step-ms", "1"}));
  EXPECT_THAT(watch(*again).lines, Contains("0 resumed at step " + std::to_string(step)));
}

TEST(LocalEngine, SeatsDifferAndThePlanSaysWho) {
  const test::TemporaryDirectory directory;
  auto launch = job(directory, {});
  launch.command = {"/bin/sh", "-c", "echo $RANK of $WORLD_SIZE with $OMP_NUM_THREADS"};
  launch.threads = 3;
  launch.of_seat = [](const Seat& seat) {
    return Environment{{"RANK", std::to_string(seat.rank)},
                       {"WORLD_SIZE", std::to_string(seat.size)}};
  };
  const auto group = local_engine()->start(launch);
  const auto watched = watch(*group);
  EXPECT_THAT(watched.lines, testing::UnorderedElementsAre("0 0 of 2 with 3", "1 1 of 2 with 3"));
  EXPECT_THAT(local_engine()->plan(launch), testing::StartsWith("2 ranks on this machine: "));
}

/// CUDA_VISIBLE_DEVICES of a machine of three cards, and what goes with it.
class ThreeCards : public testing::Test {
 protected:
  JobLaunch launch() const {
    auto launch = job(directory_, {});
    launch.command = {"/bin/sh", "-c", "echo sees $CUDA_VISIBLE_DEVICES"};
    launch.environment["CUDA_VISIBLE_DEVICES"] = "4,5,6";
    return launch;
  }

 private:
  test::TemporaryDirectory directory_;
  test::SetVariable cards_{"CUDA_VISIBLE_DEVICES", "4,5,6"};
};

TEST_F(ThreeCards, EachRankOfOursSeesOne) {
  const auto group = local_engine()->start(launch());
  EXPECT_THAT(watch(*group).lines, testing::UnorderedElementsAre("0 sees 4", "1 sees 5"));
  EXPECT_THAT(local_engine()->plan(launch()), testing::HasSubstr(", one GPU each; 1 of 3 "));
}

TEST_F(ThreeCards, AnyOtherProgramSeesAllAndChoosesByItsLocalRank) {
  auto foreign = launch();
  foreign.foreign = true;
  const auto group = local_engine()->start(foreign);
  EXPECT_THAT(watch(*group).lines, testing::UnorderedElementsAre("0 sees 4,5,6", "1 sees 4,5,6"));
  EXPECT_THAT(local_engine()->plan(foreign), testing::HasSubstr(", 3 GPUs seen by each"));
}

TEST(MpirunEngine, TakesToOtherHostsWhatIsTrueThere) {
  const test::TemporaryDirectory directory;
  const auto mpirun = directory.path() / "mpirun";
  write_file_atomically(mpirun, "#!/bin/sh\necho \"$@\" > \"$0.words\"\nexit 1\n");
  std::filesystem::permissions(mpirun, std::filesystem::perms::owner_all);
  auto launch = job(directory, {});
  launch.environment = {{"CUDA_VISIBLE_DEVICES", "GPU-of-this-host"},
                        {"CUDA_LAUNCH_BLOCKING", "1"},
                        {"FI_PROVIDER", "efa"},
                        {"UCX_NET_DEVICES", "mlx5_0:1"},
                        {"GLOO_SOCKET_IFNAME", "ib0"},
                        {"HOSTNAME", "here"}};
  launch.hosts = {{"a", 2}};
  launch.on_cpu = true;
  launch.log_directory = directory.path() / "log";
  const test::SetVariable path("PATH",
                               directory.path().string() + ":" + std::string(std::getenv("PATH")));
  const auto group = mpirun_engine()->start(launch);
  watch(*group);
  const auto words = read_file(directory.path() / "mpirun.words");
  for (const std::string name :
       {"CUDA_LAUNCH_BLOCKING", "FI_PROVIDER", "UCX_NET_DEVICES", "GLOO_SOCKET_IFNAME"}) {
    EXPECT_THAT(words, testing::HasSubstr("-x " + name));
  }
  EXPECT_THAT(words, testing::HasSubstr(" --on_cpu "));
  for (const std::string name : {"CUDA_VISIBLE_DEVICES", "HOSTNAME"}) {
    EXPECT_THAT(words, testing::Not(testing::HasSubstr(name)));
  }
}

TEST(LocalEngine, AGroupThatGoesTakesAllWithIt) {
  const test::TemporaryDirectory directory;
  std::vector<pid_t> pids;
  {
    const auto group = local_engine()->start(job(directory, {"--steps", "100000"}));
    pids = {group->pid_of(0), group->pid_of(1)};
    EXPECT_TRUE(alive(pids[0]));
  }
  EXPECT_FALSE(alive(pids[0]));
  EXPECT_FALSE(alive(pids[1]));
}

}  // namespace
}  // namespace muster
