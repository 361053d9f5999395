// The other ways to workers: a sweep as one MPI world, and workers that join and leave through the
// sweep's directory.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <csignal>

#include "launcher/engine/tool.h"
#include "launcher/sweep/spool.h"
#include "tests/sweep/sweep_shop.h"

namespace muster::test {
namespace {

using testing::HasSubstr;

class WorldSweep : public testing::Test {
 protected:
  void SetUp() override {
    if (find_program("mpirun").empty()) {
      GTEST_SKIP() << "no mpirun here";
    }
  }
  /// The exit code of sweep.ini as a world of so many ranks.
  int world(int ranks, std::vector<std::string> more = {}) {
    std::vector<std::string> words{"--allow-run-as-root", "--oversubscribe", "-np",
                                   std::to_string(ranks), rank_program(),    "--tune",
                                   "sweep.ini",           "--name=world"};
    words.insert(words.end(), more.begin(), more.end());
    Running program(shop_.path(), std::move(words), find_program("mpirun"));
    const int code = program.wait(120);
    output_ = program.output();
    return code;
  }
  SweepShop shop_;
  std::string output_;
};

TEST_F(WorldSweep, EndsWithTheTableOfTheSweepOfOneProcess) {
  shop_.sweep("max_trials = 8\n");
  auto alone = shop_.start("alone");
  ASSERT_EQ(alone.wait(), 0) << alone.output();
  EXPECT_EQ(world(3), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("world: 8 trials, over"));
  EXPECT_EQ(shop_.table("world"), shop_.table("alone"));
}

TEST_F(WorldSweep, TrialsOfSeveralRanksArePausedAndGoOnAndEndAsThoseThatMusterTrains) {
  shop_.sweep(
      "scheduler = asha\nmin_resource = 1\nmax_resource = 9\nmax_trials = 6\nparallel = 1\n", "",
      "job = job.ini\nranks = 2\n");
  auto alone = shop_.start("alone");
  ASSERT_EQ(alone.wait(180), 0) << alone.output();
  EXPECT_EQ(world(3), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("resumed at step")) << "nothing was promoted";
  EXPECT_EQ(shop_.table("world"), shop_.table("alone"));
}

TEST_F(WorldSweep, TeamsWorkSideBySideAndOneThatFailsLeavesTheOthersAlone) {
  shop_.sweep("max_trials = 6\nretries = 0\n",
              "data.path = choice " + std::string(std::getenv("MUSTER_DIGITS")) + " /no/such.h5\n",
              "job = job.ini\nranks = 2\n");
  EXPECT_EQ(world(6), 0) << output_;  // two teams, and one too many
  EXPECT_THAT(output_, HasSubstr("rank 5 is one too many for trials of 2 ranks"));
  EXPECT_THAT(shop_.table("world"), HasSubstr(",complete,"));
  EXPECT_THAT(shop_.table("world"), HasSubstr(",failed,"));
}

TEST_F(WorldSweep, ProgramsAreTrialsToo) {
  shop_.sweep("max_trials = 4\n", "x = int 1 100\n",
              "command = sh -c 'echo acc=$2' program\nmetric.acc = acc=([0-9]+)\n");
  EXPECT_EQ(world(3, {"--tune.objective=max acc"}), 0) << output_;
  EXPECT_THAT(output_, HasSubstr("world: 4 trials, over"));
  EXPECT_THAT(shop_.file("world", "trials/0001/log/rank-0.log"), HasSubstr("acc="));
}

TEST_F(WorldSweep, NeedsEnoughRanks) {
  shop_.sweep("max_trials = 2\n");
  EXPECT_EQ(world(1), 64);
  EXPECT_THAT(output_, HasSubstr("needs 2 ranks or more"));
  shop_.sweep("max_trials = 2\n", "", "job = job.ini\nranks = 2\n");
  EXPECT_EQ(world(2), 64);
  EXPECT_THAT(output_, HasSubstr("needs 3 ranks or more, one to coordinate and 2 for a trial"));
}

TEST(SpoolSweep, WorkersForProgramsJoinAndLeaveToo) {
  const SweepShop shop;
  shop.sweep("max_trials = 6\n", "x = int 1 100\n",
             "command = sh -c 'sleep 0.5; echo acc=$2' program\nmetric.acc = acc=([0-9]+)\n");
  auto quiet = shop.start("quiet", {"--tune.objective=max acc"});
  ASSERT_EQ(quiet.wait(), 0) << quiet.output();
  Running early(shop.path(), {"worker", shop.root("joined").string(), "--slots=1"});
  ASSERT_TRUE(early.says("waiting"));
  auto sweep = shop.start("joined", {"--tune.objective=max acc", "--tune.parallel=2"});
  EXPECT_TRUE(sweep.says("has joined with 1 slots"));
  EXPECT_EQ(sweep.wait(), 0) << sweep.output();
  EXPECT_EQ(early.wait(), 0) << early.output();
  EXPECT_EQ(shop.table("joined"), shop.table("quiet"));
}

TEST(SpoolSweep, WorkersJoinLeaveAndDieAndTheTableStaysTheSame) {
  const SweepShop shop;
  shop.sweep("max_trials = 12\n");
  const std::vector<std::string> how{"--tune.parallel=1", "--tune.max_resource=30",
                                     "--tune.min_resource=30"};
  auto quiet = shop.start("quiet", how);
  ASSERT_EQ(quiet.wait(), 0) << quiet.output();
  const std::vector<std::string> words{"--worker", "--spool", shop.root("joined").string(),
                                       "--slots=2"};
  Running early(shop.path(), words, "muster-rank");  // before anybody coordinates
  ASSERT_TRUE(early.says("waiting", 60));
  auto sweep =
      shop.start("joined", {"--ranks=1", "--tune.max_resource=30", "--tune.min_resource=30"});
  ASSERT_TRUE(early.says("joined", 60));
  EXPECT_TRUE(sweep.says("has joined with 2 slots"));
  early.process().signal(SIGUSR1);
  EXPECT_EQ(early.wait(), 75) << early.output();
  EXPECT_TRUE(sweep.says("has left"));
  Running late(shop.path(), words, "muster-rank");
  EXPECT_EQ(sweep.wait(), 0) << sweep.output();
  EXPECT_EQ(late.wait(), 0) << late.output();
  EXPECT_THAT(late.output(), HasSubstr("the sweep is over"));
  EXPECT_EQ(shop.table("joined"), shop.table("quiet"));
}

TEST(Spool, CarriesLinesBothWaysAndKnowsWhoIsGone) {
  const TemporaryDirectory directory;
  VirtualClock clock;
  SpoolWorkers workers(directory.path() / "spool", {"--job", "a b.ini"}, clock);
  EXPECT_TRUE(workers.joined().empty());
  const auto session = read_spool_session(directory.path() / "spool");
  ASSERT_TRUE(session);
  EXPECT_EQ(session->words, (std::vector<std::string>{"--job", "a b.ini"}));
  SpoolSeat seat(directory.path() / "spool", *session, "night", {.count = 3}, clock);
  clock.advance(std::chrono::seconds(1));
  auto links = workers.joined();
  ASSERT_EQ(links.size(), 1U);
  EXPECT_EQ(links[0]->slots(), 3U);
  links[0]->send("{\"op\":\"suspend\"}\n");
  std::vector<std::string> lines;
  seat.orders(lines);
  EXPECT_EQ(lines, std::vector<std::string>{"{\"op\":\"suspend\"}"});
  seat.say("{\"op\":\"idle\",\"trial\":7}\n");
  lines.clear();
  links[0]->receive(lines);
  EXPECT_EQ(lines, std::vector<std::string>{"{\"op\":\"idle\",\"trial\":7}"});
  EXPECT_TRUE(seat.holds());
  EXPECT_FALSE(links[0]->ended());
  clock.advance(spool_patience + std::chrono::seconds(1));
  const auto end = links[0]->ended();
  ASSERT_TRUE(end);
  EXPECT_EQ(end->text, "has been silent for 30 s");
  EXPECT_FALSE(end->is_leaving);
  links.clear();
  EXPECT_FALSE(seat.holds()) << "it was given up";
}

TEST(Spool, ALineThatIsStillBeingWrittenWaitsForItsEnd) {
  const TemporaryDirectory directory;
  AppendedLines reader(directory.path() / "events");
  std::vector<std::string> lines;
  reader.read(lines);
  const auto file = posix_file_system().open(directory.path() / "events", OpenMode::append);
  file->append(as_bytes("first\nsec"));
  reader.read(lines);
  EXPECT_EQ(lines, std::vector<std::string>{"first"});
  file->append(as_bytes("ond\n"));
  reader.read(lines);
  EXPECT_EQ(lines, (std::vector<std::string>{"first", "second"}));
}

TEST(Spool, AWorkerOfAnotherSessionStartsAnew) {
  const TemporaryDirectory directory;
  VirtualClock clock;
  const Path spool = directory.path() / "spool";
  auto first = std::make_unique<SpoolWorkers>(spool, std::vector<std::string>{"a"}, clock);
  SpoolSeat seat(spool, *read_spool_session(spool), "", {}, clock);
  EXPECT_TRUE(seat.holds());
  first->close(false);
  SpoolWorkers second(spool, {"a"}, clock);
  clock.advance(std::chrono::seconds(5));
  EXPECT_TRUE(second.joined().empty()) << "it speaks to the session before";
  second.close(true);
  EXPECT_TRUE(read_spool_session(spool)->is_over);
}

}  // namespace
}  // namespace muster::test
