// The real `muster` with ranks that misbehave on demand.
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <csignal>

#include "launcher/engine/keeper.h"
#include "launcher/engine/owner_lock.h"
#include "tests/launcher/metadata_stub.h"
#include "tests/launcher/muster_program.h"

namespace muster::test {
namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::string> states(const nlohmann::json& status) {
  std::vector<std::string> names;
  for (const auto& one : status["transitions"]) {
    names.push_back(one["status"]);
  }
  return names;
}

TEST(Supervisor, RunsAJobToItsEndAndSaysSoTheNextTime) {
  const Workshop shop;
  auto first = shop.train("--steps 50 --step-ms 4");
  EXPECT_EQ(first.wait(), 0) << first.output();
  EXPECT_THAT(first.output(), HasSubstr("2 ranks on this machine"));
  EXPECT_THAT(first.output(), HasSubstr("finished at step 50"));
  EXPECT_THAT(shop.file("log/rank-1.log"), HasSubstr("finished at step 50"));
  EXPECT_THAT(shop.file("log/all.log"), HasSubstr("[rank 1] finished at step 50"));
  auto again = shop.train("--steps 50 --step-ms 4");
  EXPECT_EQ(again.wait(), 0);
  EXPECT_THAT(again.output(), HasSubstr("job has finished"));
}

TEST(Supervisor, TheStatusTellsEachChangeOfStateWithItsTimes) {
  const Workshop shop;
  auto muster = shop.train("--steps 50 --step-ms 10 --linger-ms 1500");
  EXPECT_EQ(muster.wait(), 0) << muster.output();
  const auto status = shop.status();
  EXPECT_THAT(states(status), testing::ElementsAre("Starting", "Downloading", "Training",
                                                   "Uploading", "Completed"));
  for (const auto& one : status["transitions"]) {
    EXPECT_EQ(one["start"].get<std::string>().size(), 24U) << one;
    EXPECT_EQ(one["end"] == "", one["status"] == "Completed") << one;
  }
  auto show = shop.start({"show", "job"});
  EXPECT_EQ(show.wait(), 0);
  EXPECT_THAT(show.output(), HasSubstr("lost to starts and repeated work"));
  EXPECT_THAT(show.output(), HasSubstr("% useful"));
}

TEST(Supervisor, RestartsAfterAKilledRankFromTheLastCheckpoint) {
  const Workshop shop;
  auto muster =
      shop.train("--steps 60 --step-ms 3 --crash-at 25 --rank 1 --how kill --once killed");
  EXPECT_EQ(muster.wait(), 0) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("rank 1 was killed by SIGKILL, at step 25"));
  EXPECT_THAT(muster.output(), HasSubstr("starting again from the checkpoint of step 20"));
  EXPECT_THAT(muster.output(), HasSubstr("resumed at step 20"));
  EXPECT_EQ(shop.status()["restarts"], 1);
  EXPECT_GT(shop.status()["lost_seconds"].get<double>(), 0);
}

TEST(Supervisor, NamesTheCauseAndClosesWithItsLastLines) {
  const Workshop shop;
  auto muster = shop.train("--steps 60 --step-ms 3 --crash-at 25 --rank 1 --how error",
                           {"--restarts_per_hour=0"});
  EXPECT_EQ(muster.wait(), 1) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("rank 1: the disk of this test is full, at step 25"));
  EXPECT_THAT(muster.output(),
              HasSubstr("The last lines of rank 1:\n  rank 1 misbehaves at step 25: error"));
  EXPECT_THAT(shop.file("failure"), HasSubstr("rank 1 on " + this_host() +
                                              ": the disk of this test is full, at step 25"));
  EXPECT_THAT(shop.file("failure"), HasSubstr("What to do:"));
  EXPECT_EQ(shop.status()["state"], "Failed");
}

TEST(Supervisor, ACrashLeavesItsSignalAndBackTraceInTheRecord) {
  const Workshop shop;
  auto muster = shop.train("--steps 60 --step-ms 3 --crash-at 25 --rank 1 --how segv",
                           {"--restarts_per_hour=0"});
  EXPECT_EQ(muster.wait(), 1) << muster.output();
  EXPECT_THAT(muster.output(),
              HasSubstr("rank 1: crashed with SIGSEGV at address 0x0, in thread muster_test_ran, "
                        "at step 25, last operation meet of 8 B (left)"));
  EXPECT_THAT(shop.file("failure"), HasSubstr("back-trace:\n"));
  EXPECT_THAT(shop.file("failure"), HasSubstr("(muster_test_rank)"));
  EXPECT_THAT(shop.file("failure"), HasSubstr("The rank was killed by SIGSEGV"));
  EXPECT_THAT(shop.file("log/rank-1.log"), HasSubstr("back-trace:\n"));
  auto abort = shop.train("--steps 60 --step-ms 3 --crash-at 35 --rank 0 --how abort",
                          {"--restarts_per_hour=0"});
  EXPECT_EQ(abort.wait(), 1);
  EXPECT_THAT(abort.output(), HasSubstr("rank 0: crashed with SIGABRT, in thread"));
}

/// Where nothing is, no frame begins.
TEST(Supervisor, ACallOfNothingLeavesTheBackTraceOfItsCaller) {
  const Workshop shop;
  auto muster = shop.train("--steps 60 --step-ms 3 --crash-at 25 --rank 1 --how call",
                           {"--restarts_per_hour=0"});
  EXPECT_EQ(muster.wait(), 1) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("rank 1: crashed with SIGSEGV at address 0x0"));
  EXPECT_THAT(shop.file("failure"), HasSubstr("(muster_test_rank)"));
}

TEST(Supervisor, NeverRetriesAUsersError) {
  const Workshop shop;
  auto muster = shop.train("--steps 60 --crash-at 15 --rank 0 --how input");
  EXPECT_EQ(muster.wait(), 64) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("train.epochs = -1: must be at least 1"));
  EXPECT_THAT(muster.output(), Not(HasSubstr("The last lines of")));
  EXPECT_EQ(shop.status()["restarts"], 0);
}

TEST(Supervisor, GivesUpOnAJobThatNeverMakesAStep) {
  const Workshop shop;
  auto muster = shop.train("--steps 60 --crash-at 0 --rank 0 --how segv");
  EXPECT_EQ(muster.wait(), 1) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("failed twice in a row before its first step"));
  EXPECT_EQ(shop.status()["restarts"], 1);
}

TEST(Supervisor, TermSavesAndTheSameCommandContinues) {
  const Workshop shop;
  auto muster = shop.train("--steps 100000 --step-ms 2");
  ASSERT_TRUE(eventually([&] { return shop.step() > 5; }));
  muster.process().signal(SIGTERM);
  EXPECT_EQ(muster.wait(), 75) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("SIGTERM: saving, then leaving"));
  EXPECT_EQ(shop.status()["state"], "Interrupted");
  const auto saved = shop.step();
  auto again = shop.train("--steps " + std::to_string(saved + 5) + " --step-ms 2");
  EXPECT_EQ(again.wait(), 0) << again.output();
  EXPECT_THAT(again.output(), HasSubstr("resumed at step " + std::to_string(saved)));
}

TEST(Supervisor, CtrlCStopsOnPurposeAndASecondOneLeavesAtOnce) {
  const Workshop shop;
  auto muster = shop.train("--steps 100000 --step-ms 2");
  ASSERT_TRUE(eventually([&] { return shop.step() > 5; }));
  muster.process().signal(SIGINT);
  EXPECT_EQ(muster.wait(), 77) << muster.output();
  EXPECT_EQ(shop.status()["state"], "Stopped");
  auto deaf = shop.train("--steps 100000 --step-ms 2 --ignore yes");
  ASSERT_TRUE(deaf.says("restart 1"));
  deaf.process().signal(SIGINT);
  ASSERT_TRUE(deaf.says("Ctrl-C (again: leave at once)"));
  deaf.process().signal(SIGINT);
  EXPECT_EQ(deaf.wait(), 76) << deaf.output();
}

TEST(Supervisor, TheDeadlineEndsRanksThatDoNotLeave) {
  const Workshop shop;
  auto deaf = shop.train("--steps 100000 --step-ms 2 --ignore yes", {"--grace=1"});
  ASSERT_TRUE(eventually([&] { return shop.step() > 5; }));
  deaf.process().signal(SIGHUP);
  EXPECT_EQ(deaf.wait(), 76) << deaf.output();
  EXPECT_THAT(deaf.output(), HasSubstr("the time to save is over"));
}

TEST(Supervisor, FilesAndLimitsStopIt) {
  const Workshop shop;
  auto muster = shop.train("--steps 100000 --step-ms 2");
  ASSERT_TRUE(eventually([&] { return shop.step() > 5; }));
  auto second = shop.train("--steps 100000");
  EXPECT_EQ(second.wait(), 64);
  EXPECT_THAT(second.output(), HasSubstr("is in use by pid"));
  auto stop = shop.start({"stop", "job", "--wait"});
  EXPECT_EQ(stop.wait(), 0) << stop.output();
  EXPECT_EQ(muster.wait(), 77) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("muster stop: saving, then leaving"));
  auto file = shop.train("--steps 100000 --step-ms 2", {"--notice_file=leave"});
  ASSERT_TRUE(file.says("resumed at step"));
  write_file_atomically(shop.path() / "leave", "30");
  EXPECT_EQ(file.wait(), 75) << file.output();
  auto limit = shop.train(
      "--steps 100000 --step-ms 2",
      {"--max_runtime=" + std::to_string(shop.status()["run_seconds"].get<double>() + 1)});
  EXPECT_EQ(limit.wait(), 77) << limit.output();
  EXPECT_EQ(shop.status()["state"], "MaxRuntimeExceeded");
  auto spent = shop.train("--steps 100000 --step-ms 2", {"--max_runtime=1"});
  EXPECT_EQ(spent.wait(), 77);
  EXPECT_THAT(spent.output(), HasSubstr("was spent before this start"));
}

TEST(Supervisor, ACloudThatTakesTheMachineBackIsHeardInTime) {
  MetadataStub cloud;
  cloud.answer("GET /computeMetadata/v1/instance/preempted", "FALSE");
  const Workshop shop;
  auto muster = shop.train("--steps 100000 --step-ms 2", {"--notice_url=gcp://" + cloud.address()});
  ASSERT_TRUE(eventually([&] { return shop.step() > 5; }));
  cloud.answer("GET /computeMetadata/v1/instance/preempted", "TRUE");
  EXPECT_EQ(muster.wait(), 75) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("Google Cloud preempts this machine within 30 s: saving, "
                                         "then leaving within"));
}

TEST(Supervisor, ContinueIsAHintToSaveAndGoOn) {
  const Workshop shop;
  auto muster = shop.train("--steps 400 --step-ms 3 --every 100000");
  ASSERT_TRUE(eventually([&] { return shop.step() > 5; }));
  muster.process().signal(SIGCONT);
  EXPECT_EQ(muster.wait(), 0) << muster.output();
  EXPECT_THAT(shop.file("log/rank-0.log"), HasSubstr("saved on a hint"));
}

TEST(Supervisor, NamesARankThatHangsAndStartsAgain) {
  const Workshop shop;
  auto muster = shop.train("--steps 60 --step-ms 3 --crash-at 25 --rank 1 --how hang --once hung",
                           {"--hang_after=1"});
  EXPECT_EQ(muster.wait(90), 0) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("rank 1 (pid "));
  EXPECT_THAT(muster.output(), HasSubstr("hangs: at step 25"));
  EXPECT_THAT(muster.output(),
              HasSubstr("it entered all_reduce float32 of 4.1 kB and never left it"));
  EXPECT_THAT(shop.file("log/stacks-1.txt"), HasSubstr("process "));
  EXPECT_EQ(shop.status()["restarts"], 1);
}

TEST(Supervisor, NamesARankThatSomebodyStopped) {
  const Workshop shop;
  auto muster = shop.train("--steps 400 --step-ms 3", {"--hang_after=1"});
  ASSERT_TRUE(eventually([&] { return shop.step() > 5; }));
  const auto ranks =
      processes_with(program("muster_test_rank").string() + '\0' + "--steps" + '\0' + "400");
  ASSERT_FALSE(ranks.empty());
  ::kill(ranks.back(), SIGSTOP);
  EXPECT_EQ(muster.wait(90), 0) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("(pid " + std::to_string(ranks.back()) + ") hangs"));
  EXPECT_THAT(muster.output(), HasSubstr("somebody stopped it (SIGSTOP)"));
}

TEST(Supervisor, KillingItLeavesNothingAliveAndTheSameCommandContinues) {
  const Workshop shop;
  const std::string mark = "--steps 99" + std::to_string(::getpid());
  auto muster = shop.train(mark + " --step-ms 2 --crash-at 20 --rank 1 --how fork");
  ASSERT_TRUE(eventually([&] { return shop.status().value("checkpoint_step", 0) >= 40; }));
  const std::string word = mark.substr(8);
  EXPECT_GE(processes_with(word).size(), 6U) << "two ranks, two children, two grandchildren";
  ::kill(muster.process().pid(), SIGKILL);
  EXPECT_EQ(muster.wait(), -SIGKILL);
  EXPECT_TRUE(eventually([&] { return processes_with(word).empty(); }))
      << processes_with(word).size();
  auto again = shop.train("--steps 60 --step-ms 1");
  EXPECT_EQ(again.wait(), 0) << again.output();
  EXPECT_THAT(again.output(), HasSubstr("which is gone"));
  EXPECT_THAT(again.output(), HasSubstr("resumed at step"));
}

TEST(Supervisor, OtherSettingsNeedAnotherName) {
  const Workshop shop;
  EXPECT_EQ(shop.train("--steps 5").wait(), 0);
  auto other = shop.train("--steps 5", {"--optimizer.lr=0.5"});
  EXPECT_EQ(other.wait(), 64);
  EXPECT_THAT(other.output(), HasSubstr("they differ in optimizer.lr."));
  EXPECT_THAT(other.output(), HasSubstr("--name job-2"));
  auto limits = shop.train("--steps 9", {"--train.epochs=99"});
  EXPECT_EQ(limits.wait(), 0);
  EXPECT_THAT(limits.output(), HasSubstr("resumed at step 5"));
}

TEST(Supervisor, ListsShowsAndPrints) {
  const Workshop shop;
  EXPECT_EQ(shop.train("--steps 20 --step-ms 1").wait(), 0);
  auto list = shop.start({"ls"});
  EXPECT_EQ(list.wait(), 0);
  EXPECT_THAT(list.output(), HasSubstr("Completed"));
  auto show = shop.start({"show", "job", "--json"});
  EXPECT_EQ(show.wait(), 0);
  const auto json = nlohmann::json::parse(show.output());
  for (const char* key :
       {"name", "state", "step", "epoch", "metrics", "restarts", "lost_seconds", "checkpoints"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json["step"], 20);
  auto logs = shop.start({"logs", "job", "--rank", "1", "--lines", "1"});
  EXPECT_EQ(logs.wait(), 0);
  EXPECT_EQ(logs.output(), "finished at step 20\n");
  auto none = shop.start({"show", "jop"});
  EXPECT_EQ(none.wait(), 64);
  EXPECT_THAT(none.output(), HasSubstr("did you mean 'job'?"));
  auto stopped = shop.start({"stop", "job"});
  EXPECT_EQ(stopped.wait(), 0);
  EXPECT_THAT(stopped.output(), HasSubstr("job is not running (Completed)"));
}

TEST(Supervisor, SaysAtTheStartThatCardsStayIdleUnlessItTrainsOnTheCpu) {
  const SetVariable cards("CUDA_VISIBLE_DEVICES", "0,1,2,3");
  const Workshop shop;
  auto some = shop.train("--steps 1", {"--name=some"});
  EXPECT_EQ(some.wait(), 0) << some.output();
  EXPECT_THAT(some.output(), HasSubstr("2 of 4 GPUs idle (--ranks=4 uses all)"));
  auto none = shop.train("--steps 1", {"--name=none", "--train.device=cpu"});
  EXPECT_EQ(none.wait(), 0) << none.output();
  EXPECT_THAT(none.output(), HasSubstr("4 GPUs unused"));
}

/// What stands in the log of `rank`, of two hosts with a rank and four cards each.
std::string log_of_attended(int rank, const std::vector<std::string>& options = {}) {
  const Workshop shop;
  std::vector<std::string> words{"CUDA_VISIBLE_DEVICES=4,5,6,7",
                                 "OMPI_COMM_WORLD_RANK=" + std::to_string(rank),
                                 "OMPI_COMM_WORLD_SIZE=2",
                                 "OMPI_COMM_WORLD_LOCAL_RANK=0",
                                 "OMPI_COMM_WORLD_LOCAL_SIZE=1",
                                 program("../bin/muster").lexically_normal().string(),
                                 "attend",
                                 "--logs=."};
  words.insert(words.end(), options.begin(), options.end());
  words.insert(words.end(), {"--", "/bin/sh", "-c", "echo it sees $CUDA_VISIBLE_DEVICES"});
  Running attendant(shop.path(), words, "/usr/bin/env");
  EXPECT_EQ(attendant.wait(), 0) << attendant.output();
  return read_file(shop.path() / ("rank-" + std::to_string(rank) + ".log"));
}

TEST(Attendant, GivesARankOfOursOneCardAndOneSaysHowManyStayIdle) {
  const auto first = log_of_attended(0);
  EXPECT_THAT(first, HasSubstr("it sees 4\n"));
  EXPECT_THAT(first, HasSubstr("[rank 0] warning: 1 rank on "));
  EXPECT_THAT(first, HasSubstr("idle (hosts = "));
  EXPECT_EQ(log_of_attended(1), "it sees 4\n");
  EXPECT_THAT(first, HasSubstr(":4 or Slurm's --ntasks-per-node=4 uses all)"));
  EXPECT_THAT(log_of_attended(0, {"--on_cpu"}), Not(HasSubstr("idle")));
}

TEST(Attendant, ShowsAnyOtherProgramAllCards) {
  EXPECT_EQ(log_of_attended(0, {"--foreign"}), "it sees 4,5,6,7\n");
}

TEST(RunCommand, GivesAnyProgramItsPlaceAndItsDirectories) {
  const Workshop shop;
  auto muster =
      shop.start({"run", "--ranks", "2", "--name", "any", "--", "/bin/sh", "-c",
                  "echo rank $RANK of $WORLD_SIZE at $MASTER_ADDR; test -d $MUSTER_CHECKPOINT_DIR "
                  "&& echo '{\"step\":7,\"loss\":0.5}' >> $MUSTER_METRICS"});
  EXPECT_EQ(muster.wait(), 0) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("rank 0 of 2 at 127.0.0.1"));
  EXPECT_EQ(shop.status("any")["step"], 7);
  EXPECT_EQ(shop.status("any")["metrics"]["loss"], 0.5);
  auto resumed = shop.start({"resume", "any"});
  EXPECT_EQ(resumed.wait(), 0) << resumed.output();
  EXPECT_THAT(resumed.output(), HasSubstr("any has finished"));
}

TEST(RunCommand, AProgramSeesAsManyCardsAsItIsTold) {
  const SetVariable cards("CUDA_VISIBLE_DEVICES", "4,5");
  const Workshop shop;
  auto muster = shop.start({"run", "--ranks", "1", "--name", "any", "--", "/bin/sh", "-c",
                            "echo $SM_NUM_GPUS are $CUDA_VISIBLE_DEVICES"});
  EXPECT_EQ(muster.wait(), 0) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("2 are 4,5\n"));
}

TEST(RunCommand, EndsTheOthersWhenOneFails) {
  const Workshop shop;
  auto muster = shop.start({"run", "--ranks", "2", "--name", "bad", "--", "/bin/sh", "-c",
                            "test $RANK = 1 && exit 3; exec sleep 1000"});
  EXPECT_EQ(muster.wait(), 1) << muster.output();
  EXPECT_THAT(muster.output(), HasSubstr("rank 1 exited with 3"));
  auto missing = shop.start({"run", "--name", "none", "--", "no-such-program"});
  EXPECT_EQ(missing.wait(), 64);
  EXPECT_THAT(missing.output(),
              HasSubstr("rank 0 could not start no-such-program: No such file or directory"));
  EXPECT_EQ(shop.start({"run", "--name", "none", "--", "true"}).wait(), 0) << "it is mended";
  auto other = shop.start({"run", "--name", "none", "--", "echo", "other"});
  EXPECT_EQ(other.wait(), 64) << "it has finished";
  EXPECT_THAT(other.output(), HasSubstr("they differ in command."));
}

TEST(RunCommand, TheLastTwentyLinesOfTheGuiltyRankCloseTheOutput) {
  const Workshop shop;
  auto muster = shop.start({"run", "--ranks", "2", "--name", "long", "--", "/bin/sh", "-c",
                            "test $RANK = 0 && exec sleep 1000; seq 1001 1050; exit 3"});
  EXPECT_EQ(muster.wait(), 1) << muster.output();
  const auto output = muster.output();
  const auto ending = output.substr(output.rfind("\nThe last lines of rank 1:\n") + 1);
  EXPECT_EQ(std::ranges::count(ending, '\n'), 24) << ending;
  EXPECT_THAT(ending, testing::StartsWith("The last lines of rank 1:\n  1031\n  1032\n"));
  EXPECT_THAT(ending, HasSubstr("  1050\nlong failed: rank 1 exited with 3"));
}

TEST(RunCommand, StopIsTermThenGraceThenKill) {
  const Workshop shop;
  auto polite = shop.start({"run", "--name", "polite", "--", "/bin/sh", "-c",
                            "trap 'touch $MUSTER_CHECKPOINT_DIR/x; exit 75' TERM; echo ready; "
                            "while true; do sleep 0.05; done"});
  ASSERT_TRUE(polite.says("ready"));
  polite.process().signal(SIGTERM);
  EXPECT_EQ(polite.wait(), 75) << polite.output();
  auto deaf = shop.start({"run", "--name", "deaf", "--grace", "1", "--", "/bin/sh", "-c",
                          "trap '' TERM; echo ready; while true; do sleep 0.05; done"});
  ASSERT_TRUE(deaf.says("ready"));
  deaf.process().signal(SIGINT);
  EXPECT_EQ(deaf.wait(), 76) << deaf.output();
}

TEST(RunCommand, BadUsageGetsASentence) {
  const Workshop shop;
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases{
      {{"run", "echo", "hi"}, "the program comes behind two dashes"},
      {{"train"}, "it takes one job file"},
      {{"train", "job.ini", "--engine=slurm"}, "this is no Slurm job"},
      {{"train", "job.ini", "--engine=local", "--hosts=a:2"},
       "engine = local starts ranks on this machine only"},
      {{"train", "job.ini", "--hosts=a:x"}, "'a:x' is no host"},
      {{"train", "job.ini", "--notice_url=ftp://x"}, "write aws, gcp or azure"},
      {{"train", "job.ini", "--rank_program=/no/such"}, "there is no /no/such"},
      {{"stop"}, "it takes the name of one run"},
      {{"logs", "job"}, "there is no run or sweep 'job'"},
      {{"attend"}, "it needs --logs DIR and a command"},
      {{"submit"}, "it takes one job file"}};
  for (const auto& [arguments, sentence] : cases) {
    auto muster = shop.start(arguments);
    EXPECT_EQ(muster.wait(), 64) << arguments.front();
    EXPECT_THAT(muster.output(), HasSubstr(sentence));
  }
}

TEST(MpirunEngine, StartsNotesEndsAndLeavesNothingBehind) {
  if (::access("/usr/bin/mpirun", X_OK) != 0) {
    GTEST_SKIP() << "there is no mpirun here";
  }
  const Workshop shop;
  auto fine = shop.start({"run", "--engine", "mpirun", "--hosts", "localhost:2", "--name", "fine",
                          "--", "/bin/sh", "-c", "echo rank $RANK of $WORLD_SIZE"});
  EXPECT_EQ(fine.wait(), 0) << fine.output();
  EXPECT_THAT(fine.output(), HasSubstr("rank 0 of 2"));
  EXPECT_THAT(read_file(shop.run("fine") / "log" / "rank-1.log"), HasSubstr("rank 1 of 2"));
  auto bad = shop.start({"run", "--engine", "mpirun", "--hosts", "localhost:2", "--name", "bad",
                         "--", "/bin/sh", "-c", "test $RANK = 1 && exit 3; exec sleep 1000"});
  EXPECT_EQ(bad.wait(), 1) << bad.output();
  EXPECT_THAT(bad.output(), HasSubstr("rank 1 on "));
  EXPECT_THAT(bad.output(), HasSubstr("exited with 3"));
  const std::string mark = "77" + std::to_string(::getpid());
  auto long_one =
      shop.start({"run", "--engine", "mpirun", "--hosts", "localhost:2", "--name", "long", "--",
                  "/bin/sh", "-c", "setsid sleep " + mark + " & exec sleep " + mark});
  ASSERT_TRUE(eventually(
      [&] { return processes_with("sleep" + std::string(1, '\0') + mark).size() >= 4; }));
  // Open MPI 4 calls itself mpirun, Open MPI 5 prterun.
  const auto launchers = processes_with("run" + std::string(1, '\0') + "-np");
  pid_t ours = 0;
  for (const pid_t pid : launchers) {
    if (read_file("/proc/" + std::to_string(pid) + "/cmdline").find(shop.path().string()) !=
        std::string::npos) {
      ours = pid;
    }
  }
  ASSERT_NE(ours, 0);
  ::kill(ours, SIGKILL);
  EXPECT_EQ(long_one.wait(), 1) << long_one.output();
  EXPECT_TRUE(
      eventually([&] { return processes_with("sleep" + std::string(1, '\0') + mark).empty(); }));
}

}  // namespace
}  // namespace muster::test
