// SPDX-License-Identifier: Apache-2.0
#include "launcher/rank/train_rank.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "launcher/cli/build_info.h"
#include "launcher/rank/engine_keeper.h"
#include "launcher/rank/kept_model.h"
#include "launcher/rank/rank_files.h"
#include "launcher/rank/rank_gpu.h"
#include "launcher/rank/run_observer.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/data/dataset.h"
#include "runtime/model/export.h"
#include "runtime/model/model.h"
#include "runtime/train/trainer.h"

namespace muster {
namespace {

class TrainRank {
 public:
  TrainRank(const JobSettings& job, Ranks& ranks, const RankCores& cores, bool is_supervised)
      : job_(job),
        cores_(cores),
        meeting_(ranks),
        ranks_{ranks.node(), ranks.lane() != nullptr ? *ranks.lane() : *alone_, ranks.world()},
        files_(job, ranks_.world.rank(), is_supervised),
        gpu_(job.train, ranks_.world, &ranks.slot(), ranks.page().header(), needs_gpus()),
        engine_(engine_options(job.checkpoint, files_.checkpoints()), ranks_.world,
                posix_file_system(), clock_) {}

  int run(const Keys& keys, const Resolved& resolved);

 private:
  bool is_first() const { return ranks_.world.rank() == 0; }
  bool is_on_gpus() { return gpu_.parts().gpu != nullptr; }
  bool told_by_first(bool says);
  bool needs_gpus() { return told_by_first(is_first() && files_.needs_gpus(job_.train)); }
  void enter(Phase phase);
  void say_finished() const;
  void build();
  CheckpointInfo info() const;
  void resume();
  int leave();
  int stop();
  int finish();

  JobSettings job_;
  const RankCores& cores_;
  Ranks& meeting_;
  std::unique_ptr<Communicator> alone_ = solo_communicator();
  RankGroups ranks_;
  RankFiles files_;
  RankGpu gpu_;  // before torch is used
  SystemClock clock_;
  CheckpointEngine engine_;
  DataSets data_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<MetricsWriter> writer_;
  std::unique_ptr<EngineKeeper> keeper_;
  std::unique_ptr<RunObserver> observer_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<KeptModel> kept_;
};

/// What rank 0 says, which reads the run's directory.
bool TrainRank::told_by_first(bool says) {
  std::int32_t word = says ? 1 : 0;
  ranks_.world.broadcast(buffer_of(&word, 1), 0).wait();
  return word != 0;
}

void TrainRank::enter(Phase phase) {
  meeting_.slot().phase.store(phase);
  meeting_.slot().phase_since_ns.store(monotonic_ns());
}

int TrainRank::run(const Keys& keys, const Resolved& resolved) {
  const int each = cores_.threads_each(ranks_.node);
  const int threads = job_.train.threads.value_or(each);
  at::set_num_threads(threads);
  files_.settle(keys, resolved);
  const bool had_finished = told_by_first(is_first() && files_.has_finished(job_.train));
  files_.open_log();
  if (is_first()) {
    log::info(fmt::format("training '{}' on {} rank{}, {} thread{} each{}", job_.name,
                          ranks_.world.size(), ranks_.world.size() == 1 ? "" : "s", threads,
                          threads == 1 ? "" : "s", is_on_gpus() ? ", " + gpu_.text() : ""));
    if (gpu_.leaves_idle()) {
      log::warning(
          fmt::format("the run is on CPUs, though there is an NVIDIA driver: {} (train.device = "
                      "cuda insists on a GPU, cpu takes none)",
                      gpu_.text()));
    }
  } else if (is_on_gpus()) {
    log::info("on " + gpu_.text());
  }
  if (had_finished) {
    say_finished();
    enter(Phase::finished);
    return exit_finished;
  }
  if (is_on_gpus()) {
    files_.note_gpus();
  }
  build();
  resume();
  if (trainer_->is_finished()) {
    say_finished();
  } else {
    files_.write_state("training", trainer_->step(), 0);
    if (!is_on_gpus()) {
      files_.forget_gpus();
    }
  }
  const TrainEnd end = trainer_->run();
  const int code = end == TrainEnd::noticed   ? leave()
                   : end == TrainEnd::stopped ? stop()
                                              : finish();
  enter(Phase::finished);
  return code;
}

void TrainRank::say_finished() const {
  if (is_first()) {
    log::info(
        fmt::format("run '{}' is finished already: nothing is left to train (a larger "
                    "train.epochs goes on, --name NEW starts another)",
                    job_.name));
  }
}

void TrainRank::build() {
  enter(Phase::loading);
  if (meeting_.lane() == nullptr && ranks_.node.size() != ranks_.world.size() &&
      job_.train.exchange == "fused") {
    job_.train.exchange = "bucketed";
    if (is_first()) {
      log::warning(
          "the machines have unequal numbers of ranks: train.exchange = bucketed is used instead "
          "of fused");
    }
  }
  data_ = open_data(job_.data, ranks_.node);
  model_ = make_model(job_.model, data_.train->shape(), job_.train.seed);
  observer_ = std::make_unique<RunObserver>(
      RunObserver::Options{.writes = is_first(),
                           .shows_progress = job_.train.progress,
                           .keep_best = [this] { kept_->keep_best(); },
                           .on_epoch =
                               [this](const TrainReport& report) {
                                 files_.write_state("training", report.step, report.epoch);
                               }});
  keeper_ = std::make_unique<EngineKeeper>(
      engine_, job_.checkpoint, meeting_.page().header(), [this] { return info(); },
      [this] {
        if (writer_) {
          writer_->sync();
        }
      });
  trainer_ = std::make_unique<Trainer>(job_,
                                       TrainerParts{.model = *model_,
                                                    .train = *data_.train,
                                                    .validation = data_.validation.get(),
                                                    .ranks = ranks_,
                                                    .control = &meeting_.page().header(),
                                                    .slot = &meeting_.slot(),
                                                    .keeper = keeper_.get(),
                                                    .directory = files_.root(),
                                                    .gpu = gpu_.parts()},
                                       *observer_);
  kept_ = std::make_unique<KeptModel>(*trainer_, *model_, files_.model(), job_.train.save,
                                      notes_on(*data_.train));
  engine_.set_mover(trainer_->mover());
  if (is_first()) {
    log::info(fmt::format("{}: {}; {}: {} parameters; {} steps", data_.train->name(),
                          data_.train->shape().text(), model_->kind(), parameter_count(*model_),
                          trainer_->steps()));
  }
}

CheckpointInfo TrainRank::info() const {
  CheckpointInfo info = trainer_->checkpoint_info();
  info.environment.push_back({"muster", build_version()});
  return info;
}

void TrainRank::resume() {
  engine_.prepare(trainer_->state());
  if (job_.checkpoint.direct == "on" && !engine_.is_direct()) {
    throw Error(Fault::bad_input,
                fmt::format("checkpoint.direct = on, but the file system of {} takes no direct "
                            "writes; auto goes through the page cache there",
                            files_.checkpoints().string()));
  }
  if (const auto restored = engine_.restore(trainer_->state(), info())) {
    trainer_->restored();
    if (is_first()) {
      for (const std::string& warning : restored->warnings) {
        log::warning(warning);
      }
      log::info(
          fmt::format("resumed at step {} from {}", trainer_->step(), restored->path.string()));
    }
  }
  if (is_first()) {
    writer_ = std::make_unique<MetricsWriter>(
        files_.root(), trainer_->step(),
        MetricsWriter::Options{.tensorboard = job_.train.tensorboard});
    observer_->write_to(writer_.get());
  }
}

// A notice: save if there is time, and leave with the code that says what may follow.
int TrainRank::leave() {
  enter(Phase::checkpoint);
  ControlHeader& control = meeting_.page().header();
  const Notice notice = control.notice.load();
  const std::int64_t deadline = control.deadline_ns.load();
  std::int32_t fits =
      deadline == 0 || monotonic_ns() + engine_.predicted_save().count() <= deadline ? 1 : 0;
  ranks_.world.broadcast(buffer_of(&fits, 1), 0).wait();
  if (fits == 0) {
    if (is_first()) {
      log::warning(
          fmt::format("leaving at step {} without a new checkpoint: there is no time to write one",
                      trainer_->step()));
    }
    return exit_unsaved;
  }
  keeper_->save_now(trainer_->state());
  if (is_first()) {
    log::info(
        fmt::format("saved at step {}; the same command goes on from here", trainer_->step()));
  }
  const bool on_purpose = notice == Notice::interrupted || notice == Notice::stopped;
  files_.write_state(on_purpose ? "stopped" : "interrupted", trainer_->step(), 0);
  return on_purpose ? exit_stopped : exit_saved;
}

// A rule of debug.rules ended the run: on purpose, so nobody restarts it.
int TrainRank::stop() {
  enter(Phase::checkpoint);
  keeper_->save_now(trainer_->state());
  if (is_first()) {
    log::warning(
        fmt::format("stopped at step {} by a rule (debug.action = stop), with all state "
                    "saved; the same command goes on",
                    trainer_->step()));
  }
  files_.write_state("stopped", trainer_->step(), 0);
  return exit_stopped;
}

int TrainRank::finish() {
  enter(Phase::finishing);
  engine_.wait();  // the last step may be on its way to the disk already
  if (job_.checkpoint.on_exit &&
      engine_.last_committed() != static_cast<std::int64_t>(trainer_->step())) {
    keeper_->save_now(trainer_->state());
  }
  kept_->require_best();
  if (is_first() && !observer_->kept_best()) {
    kept_->keep_last();
  }
  if (is_first() && !job_.checkpoint.on_exit) {
    files_.write_finished(job_.train);
  }
  if (is_on_gpus()) {
    files_.note_finished_on_gpus(job_.train);
  }
  ranks_.world.barrier();
  files_.write_state("finished", trainer_->step(), job_.train.epochs);
  if (is_first()) {
    for (const std::string& sentence : kept_->left_out()) {
      log::info(sentence);
    }
    const std::string mode = trainer_->gpu_mode();
    log::info(fmt::format("finished after {} steps{}; the model is in {}", trainer_->step(),
                          mode.empty() ? "" : " [" + mode + "]", files_.model().string()));
  }
  return exit_finished;
}

}  // namespace

int train_rank(const JobSettings& job, const Keys& keys, const Resolved& resolved, Ranks& ranks,
               const RankCores& cores, bool is_supervised) {
  TrainRank rank(job, ranks, cores, is_supervised);
  try {
    return rank.run(keys, resolved);
  } catch (const std::exception& error) {
    // To give back what lies on a GPU that is lost may take longer than those who hear of it wait.
    tell_failure(ranks, job, is_supervised, error);
    throw;
  }
}

void tell_failure(Ranks& ranks, const JobSettings& job, bool is_supervised,
                  const std::exception& error) {
  if (ranks.slot().failed.load() != 0) {
    return;
  }
  const std::string text = report(error);
  const Fault fault = fault_of(error);
  record_failure(ranks.slot(), static_cast<int>(fault), text);
  log::error(text);
  ranks.node().abort(text);
  ranks.world().abort(text);
  if (fault != Fault::communication) {
    RankFiles(job, ranks.world().rank(), is_supervised).write_failure(text);
  }
}

}  // namespace muster
