// muster-rank: one rank of a training job. Runs equally when started by `muster`, by mpirun, by
// srun, and alone. SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "collectives/mpi/open_ranks.h"
#include "launcher/cli/command.h"
#include "launcher/rank/script_export.h"
#include "launcher/rank/train_rank.h"
#include "launcher/worker/worker_main.h"
#include "launcher/worker/world_sweep.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/stop_signals.h"
#include "runtime/comm/crash_record.h"
#include "runtime/train/gradient_pool.h"

namespace muster {
namespace {

/// Turns signals into notices on the page, from when there is one; earlier ones wait for it.
class SignalDesk {
 public:
  explicit SignalDesk(bool is_supervised) : is_supervised_(is_supervised) {}

  void on_signal(int signal) {
    if (signal == SIGCONT) {
      if (ControlHeader* header = header_.load()) {
        header->checkpoint_hint.fetch_add(1);
      }
      return;
    }
    if (signal == SIGINT && is_supervised_) {
      return;  // the terminal tells the whole group; the supervisor decides
    }
    if (signal == SIGINT && interrupts_.fetch_add(1) > 0) {
      ::_exit(exit_stopped);
    }
    pending_.store(signal == SIGINT ? Notice::interrupted : Notice::preempted);
    deliver();
  }
  void open(ControlHeader& header) {
    header_.store(&header);
    deliver();
  }
  void close() { header_.store(nullptr); }

 private:
  void deliver() {
    ControlHeader* header = header_.load();
    const Notice notice = pending_.load();
    if (header != nullptr && notice != Notice::none) {
      Notice none = Notice::none;
      header->notice.compare_exchange_strong(none, notice);
    }
  }
  bool is_supervised_;
  std::atomic<ControlHeader*> header_{nullptr};
  std::atomic<Notice> pending_{Notice::none};
  std::atomic<int> interrupts_{0};
};

/// `muster` owns the run's files: it started this rank, or an attendant of its did through mpirun
/// or srun.
bool is_watched(const LaunchContext& context) {
  return context.starter == Starter::muster || std::getenv("MUSTER_ATTENDED") != nullptr;
}

int fail(Ranks& ranks, const JobSettings& job, bool is_supervised, const std::exception& error) {
  tell_failure(ranks, job, is_supervised, error);
  return exit_code_of(error);
}

int run_rank(const Arguments& arguments, LaunchContext context, SignalDesk& desk) {
  JobSettings job;
  Keys keys;
  describe(keys, job);
  const auto line = take_command_line(
      keys, arguments,
      {.usage = "muster-rank JOB.ini [--section.key value ...]\nmpirun -np N muster-rank JOB.ini "
                "...\nsrun --mpi=pmix muster-rank JOB.ini ...",
       .about = "Trains as one rank of a job. Alone it is the whole job. `muster train` starts "
                "ranks, watches them and restarts them."});
  if (!line) {
    return exit_finished;
  }
  if (line->words.size() > 1) {
    throw Error(Fault::bad_input,
                "muster-rank takes one job file, not '" + line->words[1] + "' as well");
  }
  Sources sources{.file = {}, .environment = {}, .arguments = line->options};
  const Environment environment = process_environment();
  sources.environment = {environment.begin(), environment.end()};
  sources.environment.erase("MUSTER_LAUNCH");
  sources.environment.erase("MUSTER_ATTENDED");
  if (!line->words.empty()) {
    sources.file = line->words[0];
  }
  const Resolved resolved = load(keys, sources);
  heed_log_level(job);
  if (job.name.empty()) {
    job.name = line->words.empty() ? "job" : stem_of(line->words[0]);
  }
  context.bind = job.bind;
  const RankCores cores(context);
  const auto ranks = open_ranks(context);
  const bool is_supervised = is_watched(context);
  log::set_label({.rank = ranks->world().size() > 1 ? ranks->world().rank() : -1, .trial = {}});
  desk.open(ranks->page().header());
  crash_record_goes_to(&ranks->slot());
  int code = exit_failed;
  try {
    code = train_rank(job, keys, resolved, *ranks, cores, is_supervised);
    ranks->finish();
  } catch (const std::exception& error) {
    code = fail(*ranks, job, is_supervised, error);
  }
  crash_record_goes_to(nullptr);
  desk.close();
  return code;
}

/// Who started it does not matter: a worker belongs to no group of ranks.
int run_for_a_sweep(std::string_view how, const Arguments& arguments) {
  SignalDesk desk(false);
  const auto page = std::make_unique<ControlHeader>();
  desk.open(*page);
  const StopSignals signals([&desk](int signal) { desk.on_signal(signal); });
  GradientPool::install();
  const auto wants_out = [&page] { return page->notice.load() != Notice::none; };
  const int code =
      how == "--worker" ? worker_main(arguments, wants_out) : tune_world(arguments, wants_out);
  desk.close();
  return code;
}

}  // namespace
}  // namespace muster

int main(int count, char** words) {
  try {
    muster::install_crash_record();
    const std::string_view first = count > 1 ? words[1] : "";
    if (first == "--worker" || first == "--tune") {
      return muster::run_for_a_sweep(first, {words + 2, words + count});
    }
    const auto context = muster::launch_context(muster::process_environment());
    muster::SignalDesk desk(muster::is_watched(context));
    const muster::StopSignals signals([&desk](int signal) { desk.on_signal(signal); });
    muster::GradientPool::install();
    if (first == "--torchscript") {
      return muster::script_export({words + 2, words + count});
    }
    return muster::run_rank({words + 1, words + count}, context, desk);
  } catch (const std::exception& error) {
    muster::log::error(muster::report(error));
    return muster::exit_code_of(error);
  }
}
