/// muster-rank and muster as their users run them: when checkpoints are made, what is refused, and
/// what happens when the disk is full or cannot be written.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/mount.h>

#include <algorithm>
#include <cstdio>

#include "runtime/base/crc32c.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/checkpoint_store.h"
#include "tests/launcher/muster_program.h"

namespace muster::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using Words = std::vector<std::string>;

/// Two epochs of six steps, on one rank.
constexpr const char* job_text = R"([data]
format = synthetic
shape = 128
classes = 4
rows = 60
validation_rows = 12
[model]
kind = mlp
hidden = 512
[optimizer]
lr = 0.01
momentum = 0.9
[train]
epochs = 2
batch_size = 10
threads = 1
progress = false
tensorboard = false
[checkpoint]
keep = 100
)";

class CheckpointedRun : public testing::Test {
 protected:
  CheckpointedRun() { write_file_atomically(root() / "job.ini", job_text); }
  ~CheckpointedRun() override {
    for (const Path& place : mounted_) {
      ::umount2(place.c_str(), MNT_DETACH);
    }
  }
  const Path& root() const { return directory_.path(); }
  Path checkpoints(const std::string& name = "job") const {
    return root() / "runs" / name / "checkpoints";
  }
  Running start(Words words) const {
    words.insert(words.begin(), "job.ini");
    return {root(), std::move(words), "muster-rank"};
  }
  /// The exit code, and what was said.
  std::pair<int, std::string> train(Words words = {}) const {
    Running run = start(std::move(words));
    const int code = run.wait();
    return {code, run.output()};
  }
  std::pair<int, std::string> muster(Words words) const {
    Running run(root(), std::move(words));
    const int code = run.wait();
    return {code, run.output()};
  }
  std::vector<std::int64_t> steps(const std::string& name = "job") const {
    std::vector<std::int64_t> steps;
    for (const CheckpointEntry& entry : CheckpointStore(checkpoints(name)).list(Scrutiny::full)) {
      EXPECT_TRUE(entry.is_valid) << entry.problem;
      steps.push_back(entry.step);
    }
    std::ranges::sort(steps);
    return steps;
  }
  /// Trains until `many` checkpoints are there, then asks the run to leave.
  void expect_checkpoints_while_it_runs(Words words, std::size_t many) {
    words.insert(words.end(), {"--train.epochs=1000000", "--train.evaluate_every=0"});
    Running run = start(words);
    ASSERT_TRUE(
        eventually([&] { return CheckpointStore(checkpoints()).names().size() >= many; }, 60))
        << run.output();
    run.process().signal(SIGTERM);
    EXPECT_EQ(run.wait(), 75) << run.output();
  }
  /// A run of another name that finds the checkpoints of `job`, and nothing else of it.
  void hand_over_to(const std::string& name) const {
    std::filesystem::create_directories(root() / "runs" / name);
    std::filesystem::copy(checkpoints(), checkpoints(name),
                          std::filesystem::copy_options::recursive);
  }
  /// The same of one step alone.
  void hand_over(std::int64_t step, const std::string& from, const std::string& to) const {
    const std::string name = fmt::format("step-{:08}", step);
    std::filesystem::create_directories(checkpoints(to));
    std::filesystem::copy(checkpoints(from) / name, checkpoints(to) / name);
  }
  std::string last_state(const std::string& name) const {
    const auto newest = CheckpointStore(checkpoints(name)).newest();
    return newest ? read_file(*newest / "state.h5") : "nothing of " + name;
  }
  /// A file system of so many bytes in place of the run's checkpoints.
  bool mount_small(const std::string& size) {
    std::filesystem::create_directories(checkpoints());
    if (::mount("tmpfs", checkpoints().c_str(), "tmpfs", 0, ("size=" + size).c_str()) != 0) {
      return false;
    }
    mounted_.push_back(checkpoints());
    return true;
  }
  bool remount(unsigned long flags, const std::string& size) const {
    return ::mount("tmpfs", checkpoints().c_str(), "tmpfs", MS_REMOUNT | flags,
                   ("size=" + size).c_str()) == 0;
  }

 private:
  TemporaryDirectory directory_;
  std::vector<Path> mounted_;
};

using CheckpointInterval = CheckpointedRun;

TEST_F(CheckpointInterval, IsANumberOfSteps) {
  const auto [code, text] = train({"--checkpoint.every_steps=5", "--checkpoint.async=false"});
  EXPECT_EQ(code, 0) << text;
  EXPECT_THAT(steps(), ElementsAre(5, 10, 12));  // the last when it ends
}

TEST_F(CheckpointInterval, SkipsNoneWhenItIsNotAsynchronous) {
  const auto [code, text] = train({"--checkpoint.every_steps=1", "--checkpoint.async=false"});
  EXPECT_EQ(code, 0) << text;
  EXPECT_THAT(steps(), SizeIs(12));
  EXPECT_THAT(text, Not(HasSubstr("skipped")));
}

TEST_F(CheckpointInterval, IsATime) {
  expect_checkpoints_while_it_runs({"--checkpoint.every=0.2"}, 3);
}

TEST_F(CheckpointInterval, IsFoundByItself) {
  expect_checkpoints_while_it_runs({"--checkpoint.every=auto"}, 1);
}

TEST_F(CheckpointInterval, IsNever) {
  EXPECT_EQ(train({"--checkpoint.every=never"}).first, 0);
  EXPECT_THAT(steps(), ElementsAre(12));
  EXPECT_EQ(train({"--name=none", "--checkpoint.every=never", "--checkpoint.on_exit=false"}).first,
            0);
  EXPECT_THAT(steps("none"), IsEmpty());
}

using ForeignCheckpoint = CheckpointedRun;

TEST_F(ForeignCheckpoint, OfAnotherConfigurationIsRefusedByTheNamesOfItsSettings) {
  ASSERT_EQ(train().first, 0);
  hand_over_to("other");
  const auto [code, text] =
      train({"--name=other", "--optimizer.lr=0.5", "--schedule.kind=cosine", "--train.seed=3"});
  EXPECT_EQ(code, 64) << text;
  EXPECT_THAT(text, HasSubstr("was saved by another configuration"));
  EXPECT_THAT(text, HasSubstr("optimizer.lr is 0.01 there and 0.5 here"));
  EXPECT_THAT(text, HasSubstr("schedule.kind is constant there and cosine here"));
  EXPECT_THAT(text, HasSubstr("train.seed is 0 there and 3 here"));
  EXPECT_THAT(text, HasSubstr("--name NEW"));
  EXPECT_THAT(steps("other"), ElementsAre(12));
}

TEST_F(ForeignCheckpoint, OfAnotherModelIsRefusedByTheNamesOfItsTensors) {
  ASSERT_EQ(train().first, 0);
  hand_over_to("other");
  const auto [code, text] = train({"--name=other", "--model.hidden=64"});
  EXPECT_EQ(code, 64) << text;
  EXPECT_THAT(text, HasSubstr("is of another model"));
  EXPECT_THAT(text, HasSubstr("float32 [512, 128] there and float32 [64, 128] here"));
  EXPECT_THAT(steps("other"), ElementsAre(12));
}

TEST_F(ForeignCheckpoint, OfANewerFormatIsRefusedThoughAnOlderOneIsThere) {
  ASSERT_EQ(train({"--checkpoint.every_steps=5", "--checkpoint.async=false"}).first, 0);
  hand_over_to("other");
  const Path manifest = checkpoints("other") / "step-00000012" / "manifest";
  std::string text = read_file(manifest);
  text.replace(0, std::string("muster-checkpoint 1").size(), "muster-checkpoint 7");
  text.resize(text.size() - 16);
  std::array<char, 32> line{};
  std::snprintf(line.data(), line.size(), "crc32c %08x\n", crc32c(0, text.data(), text.size()));
  write_file_atomically(manifest, text + line.data());
  const auto [code, said] = train({"--name=other"});
  EXPECT_EQ(code, 64) << said;
  EXPECT_THAT(said, HasSubstr("written by a newer Muster in checkpoint format 7"));
}

TEST_F(ForeignCheckpoint, OfOtherThreadsAndALongerRunIsLoadedAndSaid) {
  ASSERT_EQ(train({"--schedule.kind=cosine"}).first, 0);
  const auto [code, text] =
      train({"--schedule.kind=cosine", "--train.epochs=3", "--train.threads=2"});
  EXPECT_EQ(code, 0) << text;
  EXPECT_THAT(text, HasSubstr("resumed at step 12"));
  EXPECT_THAT(text, HasSubstr("threads is 1 there and 2 here"));
  EXPECT_THAT(text, HasSubstr("steps is 12 there and 18 here"));
}

using ExactRun = CheckpointedRun;

/// Real processes, in shared memory and over MPI: the bits depend neither on how many they are nor
/// on how many they were before.
TEST_F(ExactRun, StrictHasEqualBitsOnAnyNumberOfRanksAndFromAnyOther) {
  const Words strict{"--train.strict=true", "--model.dropout=0.1", "--model.hidden=32",
                     "--checkpoint.every_steps=1", "--checkpoint.async=false"};
  const auto with = [&](Words more) {
    more.insert(more.end(), strict.begin(), strict.end());
    return more;
  };
  ASSERT_EQ(train(with({"--name=alone"})).first, 0);
  const std::string bits = last_state("alone");
  for (const int ranks : {2, 3, 4}) {
    const std::string name = fmt::format("of{}", ranks);
    hand_over(4, "alone", name);
    const auto [code, text] =
        muster(with({"train", "job.ini", "--name=" + name, fmt::format("--ranks={}", ranks)}));
    ASSERT_EQ(code, 0) << text;
    EXPECT_THAT(text, HasSubstr("resumed at step 4"));
    EXPECT_TRUE(last_state(name) == bits) << "1 to " << ranks << " ranks";
  }
  hand_over(9, "of4", "back");
  ASSERT_EQ(train(with({"--name=back"})).first, 0);
  EXPECT_TRUE(last_state("back") == bits) << "4 to 1 ranks";
}

TEST_F(ExactRun, StrictHasTheSameBitsOverMpi) {
  const Path mpirun = "/usr/bin/mpirun";
  if (!std::filesystem::exists(mpirun)) {
    GTEST_SKIP() << "no mpirun";
  }
  const Words strict{"--train.strict=true", "--model.hidden=32", "--checkpoint.every_steps=4",
                     "--checkpoint.async=false"};
  Words alone = strict;
  alone.emplace_back("--name=alone");
  ASSERT_EQ(train(alone).first, 0);
  hand_over(4, "alone", "mpi");
  Words words{"--allow-run-as-root",
              "--oversubscribe",
              "--bind-to",
              "none",
              "-np",
              "2",
              program("").parent_path().parent_path() / "bin" / "muster-rank",
              "job.ini",
              "--name=mpi"};
  words.insert(words.end(), strict.begin(), strict.end());
  Running run(root(), words, mpirun);
  ASSERT_EQ(run.wait(), 0) << run.output();
  EXPECT_THAT(run.output(), HasSubstr("resumed at step 4"));
  EXPECT_TRUE(last_state("mpi") == last_state("alone"));
}

/// The losses of a run, step by step, and its learning rates.
std::vector<std::pair<double, double>> losses_of(const Path& metrics) {
  std::vector<std::pair<double, double>> losses;
  for (const std::string& line : split(trim(read_file(metrics)), '\n')) {
    const auto record = nlohmann::json::parse(line);
    losses.emplace_back(record.at("train_loss"), record.at("lr"));
  }
  return losses;
}

TEST_F(ExactRun, OnOtherRanksKeepsSamplesOrderAndScheduleWithoutStrict) {
  const Words words{"--schedule.kind=cosine", "--train.report_every=1", "--model.hidden=32",
                    "--checkpoint.every_steps=4", "--checkpoint.async=false"};
  ASSERT_EQ(train(words).first, 0);
  hand_over(4, "job", "two");
  Words two{"train", "job.ini", "--name=two", "--ranks=2"};
  two.insert(two.end(), words.begin(), words.end());
  const auto [code, text] = muster(two);
  ASSERT_EQ(code, 0) << text;
  EXPECT_THAT(text, HasSubstr("ranks is 1 there and 2 here"));
  const auto one = losses_of(root() / "runs/job/metrics.jsonl");
  const auto other = losses_of(root() / "runs/two/metrics.jsonl");
  ASSERT_EQ(one.size(), 12U);
  ASSERT_EQ(other.size(), 8U);
  for (std::size_t i = 0; i < other.size(); ++i) {
    EXPECT_NEAR(other[i].first, one[i + 4].first, 1e-5) << "step " << i + 5;
    EXPECT_EQ(other[i].second, one[i + 4].second) << "step " << i + 5;
  }
}

using FailingDisk = CheckpointedRun;

/// Room for one checkpoint of 560 kB and no second: the first stands, the periodic ones after it
/// are warned of, the last is an error, and with more room the same command goes on.
TEST_F(FailingDisk, FullWarnsGoesOnAndFailsAtTheEnd) {
  if (!mount_small("900k")) {
    GTEST_SKIP() << "mounting a small tmpfs needs root";
  }
  const Words words{"--checkpoint.every_steps=3", "--checkpoint.async=false"};
  const auto [code, text] = train(words);
  EXPECT_EQ(code, 1) << text;
  for (const char* step : {"6", "9", "12"}) {
    EXPECT_THAT(text, HasSubstr("the checkpoint of step " + std::string(step) +
                                " was not saved; training goes on"));
  }
  EXPECT_THAT(text, HasSubstr("No space left on device"));
  EXPECT_THAT(text, HasSubstr("saving the checkpoint of step 12"));
  EXPECT_THAT(steps(), ElementsAre(3));
  ASSERT_TRUE(remount(0, "8m"));
  const auto [again, said] = train(words);
  EXPECT_EQ(again, 0) << said;
  EXPECT_THAT(said, HasSubstr("resumed at step 3"));
  EXPECT_THAT(steps(), ElementsAre(3, 6, 9, 12));
}

TEST_F(FailingDisk, ReadOnlyIsSaidBeforeTraining) {
  ASSERT_EQ(train({"--train.epochs=1"}).first, 0);
  const std::vector<std::int64_t> before = steps();
  std::filesystem::rename(checkpoints(), root() / "kept");
  if (!mount_small("8m")) {
    GTEST_SKIP() << "mounting a read-only file system needs root";
  }
  std::filesystem::copy(root() / "kept", checkpoints(), std::filesystem::copy_options::recursive);
  ASSERT_TRUE(remount(MS_RDONLY, "8m"));
  const auto [code, text] = train();
  EXPECT_EQ(code, 1) << text;
  EXPECT_THAT(text, HasSubstr("preparing to save checkpoints"));
  EXPECT_THAT(text, HasSubstr("Read-only file system"));
  EXPECT_THAT(text, Not(HasSubstr("resumed at step")));
  EXPECT_EQ(steps(), before);
}

/// The disk turns read-only under a run: it warns and goes on, leaves when told, and says that the
/// state was not saved.
TEST_F(FailingDisk, ReadOnlyUnderARunIsWarnedOf) {
  if (!mount_small("20m")) {
    GTEST_SKIP() << "mounting a read-only file system needs root";
  }
  Running run = start({"--checkpoint.every_steps=20", "--checkpoint.keep=2",
                       "--train.epochs=1000000", "--train.evaluate_every=0"});
  ASSERT_TRUE(eventually([&] { return !CheckpointStore(checkpoints()).names().empty(); }, 60));
  ASSERT_TRUE(eventually([&] { return remount(MS_RDONLY, "20m"); }, 60));  // not while it writes
  EXPECT_TRUE(run.says("training goes on, and the older ones are untouched", 60)) << run.output();
  run.process().signal(SIGTERM);
  EXPECT_EQ(run.wait(), 1) << run.output();
  EXPECT_THAT(run.output(), HasSubstr("Read-only file system"));
  EXPECT_THAT(steps(), Not(IsEmpty()));
}

using ShownRun = CheckpointedRun;

TEST_F(ShownRun, ListsItsCheckpoints) {
  ASSERT_EQ(train({"--checkpoint.every_steps=5", "--checkpoint.async=false"}).first, 0);
  std::filesystem::resize_file(checkpoints() / "step-00000010" / "state.h5", 4096);
  const auto [code, text] = muster({"show", "job", "--json"});
  ASSERT_EQ(code, 0) << text;
  const auto shown = nlohmann::json::parse(text);
  for (const char* key :
       {"name", "state", "step", "epoch", "metrics", "restarts", "lost_seconds"}) {
    EXPECT_TRUE(shown.contains(key)) << key;
  }
  const auto& listed = shown.at("checkpoints");
  ASSERT_THAT(listed, SizeIs(3));
  EXPECT_EQ(listed[0],
            (nlohmann::json{
                {"step", 12},
                {"bytes", std::filesystem::file_size(checkpoints() / "step-00000012" / "state.h5")},
                {"valid", true},
                {"path", "runs/job/checkpoints/step-00000012"}}));
  EXPECT_EQ(listed[1]["step"], 10);
  EXPECT_EQ(listed[1]["valid"], false);
  const auto [plain, page] = muster({"show", "job"});
  EXPECT_EQ(plain, 0) << page;
  EXPECT_THAT(page, HasSubstr("step        12"));
  EXPECT_THAT(page, HasSubstr(" ago"));
  EXPECT_THAT(page, HasSubstr("NOT VALID"));
}

using ExportedRun = CheckpointedRun;

TEST_F(ExportedRun, IsTheModelOfTheRunAsTorchScript) {
  ASSERT_EQ(train({"--data.validation_rows=0"}).first, 0);
  const auto [code, text] =
      muster({"checkpoint", "export", "job", "--to", "torchscript", "--output", "model.pt"});
  ASSERT_EQ(code, 0) << text;
  EXPECT_TRUE(read_file(root() / "model.pt") == read_file(root() / "runs/job/model/model.pt"))
      << "another model than the one that the run left";
  EXPECT_THAT(posix_file_system().list(root()),
              testing::UnorderedElementsAre("job.ini", "runs", "model.pt"));
}

TEST_F(ExportedRun, SaysWhichModelsCannotBeTorchScript) {
  std::string tokens = job_text;
  tokens.replace(tokens.find("shape = 128"), 11, "task = tokens");
  write_file_atomically(root() / "job.ini", tokens);
  const Words words{"--model.kind=gpt",    "--model.depth=1",  "--model.embedding=16",
                    "--model.heads=2",     "--data.context=8", "--data.classes=16",
                    "--data.vocabulary=16"};
  const auto [trained, said] = train(words);
  ASSERT_EQ(trained, 0) << said;
  const auto [code, text] = muster({"checkpoint", "export", "runs/job", "--to", "torchscript"});
  EXPECT_EQ(code, 64) << text;
  EXPECT_THAT(text, HasSubstr("model.kind = gpt cannot be written as TorchScript"));
  EXPECT_FALSE(std::filesystem::exists(root() / "model.torchscript"));
}

TEST_F(ExportedRun, NeedsTheRunsSettingsForTorchScript) {
  ASSERT_EQ(train().first, 0);
  std::filesystem::remove(root() / "runs/job/config.ini");
  const auto [code, text] = muster({"checkpoint", "export", "runs/job", "--to", "torchscript"});
  EXPECT_EQ(code, 64) << text;
  EXPECT_THAT(text, HasSubstr("config.ini"));
}

}  // namespace
}  // namespace muster::test
