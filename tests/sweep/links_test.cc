// The other ways to workers: a sweep as one MPI world, and workers that join and leave through the
// sweep's directory. SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <csignal>

#include "launcher/engine/tool.h"
#include "launcher/sweep/spool.h"
#include "tests/sweep/sweep_shop.h"

namespace muster::test {
namespace {

using testing::HasSubstr;

std::string rank_program() {
  return (program("").parent_path().parent_path() / "bin" / "muster-rank").string();
}

/// A process in the shop's directory.
class Beside {
 public:
  Beside(const Path& directory, std::vector<std::string> command) {
    Pipe pipe = output_pipe();
    ProcessSpec spec;
    spec.command = std::move(command);
    spec.environment = without_places(process_environment());
    spec.environment["OMPI_ALLOW_RUN_AS_ROOT"] = "1";
    spec.environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
    spec.directory = directory;
    spec.output = spec.error = pipe.theirs.get();
    process_ = std::make_unique<Process>(Process::start(spec));
    reader_ = std::make_unique<LineReader>(std::move(pipe.ours));
  }
  Process& process() { return *process_; }
  const std::string& output() {
    std::vector<std::string> lines;
    reader_->read(lines);
    for (const auto& line : lines) {
      output_ += line + "\n";
    }
    return output_;
  }
  bool says(const std::string& text) {
    return eventually([&] { return output().find(text) != std::string::npos; }, 60);
  }
  int wait() {
    std::optional<Ended> ended;
    eventually(
        [&] {
          output();
          ended = process_->wait_for(20);
          return ended.has_value();
        },
        90);
    output();
    return !ended ? 999 : ended->code().value_or(-ended->signal().value_or(0));
  }

 private:
  std::unique_ptr<Process> process_;
  std::unique_ptr<LineReader> reader_;
  std::string output_;
};

TEST(WorldSweep, EndsWithTheTableOfTheSweepOfOneProcess) {
  if (find_program("mpirun").empty()) {
    GTEST_SKIP() << "no mpirun here";
  }
  const SweepShop shop;
  shop.sweep("max_trials = 8\n");
  auto alone = shop.start("alone");
  ASSERT_EQ(alone.wait(), 0) << alone.output();
  Beside world(shop.path(), {"mpirun", "--oversubscribe", "-np", "3", rank_program(), "--tune",
                             "sweep.ini", "--name=world"});
  EXPECT_EQ(world.wait(), 0) << world.output();
  EXPECT_THAT(world.output(), HasSubstr("world: 8 trials, over"));
  EXPECT_EQ(shop.table("world"), shop.table("alone"));
}

TEST(WorldSweep, NeedsTwoRanksAndAJob) {
  if (find_program("mpirun").empty()) {
    GTEST_SKIP() << "no mpirun here";
  }
  const SweepShop shop;
  shop.sweep("max_trials = 2\n");
  Beside alone(shop.path(), {"mpirun", "-np", "1", rank_program(), "--tune", "sweep.ini"});
  EXPECT_EQ(alone.wait(), 64);
  EXPECT_THAT(alone.output(), HasSubstr("needs two ranks or more"));
}

TEST(SpoolSweep, WorkersJoinLeaveAndDieAndTheTableStaysTheSame) {
  const SweepShop shop;
  shop.sweep("max_trials = 12\n");
  const std::vector<std::string> how{"--tune.parallel=1", "--tune.max_resource=30",
                                     "--tune.min_resource=30"};
  auto quiet = shop.start("quiet", how);
  ASSERT_EQ(quiet.wait(), 0) << quiet.output();
  const std::vector<std::string> words{rank_program(), "--worker", "--spool",
                                       shop.root("joined").string(), "--slots=2"};
  Beside early(shop.path(), words);  // before anybody coordinates
  ASSERT_TRUE(early.says("waiting"));
  auto sweep =
      shop.start("joined", {"--ranks=1", "--tune.max_resource=30", "--tune.min_resource=30"});
  ASSERT_TRUE(early.says("joined"));
  EXPECT_TRUE(sweep.says("has joined with 2 slots"));
  early.process().signal(SIGUSR1);
  EXPECT_EQ(early.wait(), 75) << early.output();
  EXPECT_TRUE(sweep.says("has left"));
  Beside late(shop.path(), words);
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
  SpoolSeat seat(directory.path() / "spool", *session, "night", 3, clock);
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
  SpoolSeat seat(spool, *read_spool_session(spool), "", 1, clock);
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
