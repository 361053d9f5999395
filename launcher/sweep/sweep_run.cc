// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/sweep_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <mutex>

#include "hpo/slot_time.h"
#include "hpo/sweep_report.h"
#include "launcher/engine/owner_lock.h"
#include "launcher/engine/resources.h"
#include "launcher/engine/slurm_environment.h"
#include "launcher/sweep/base_job.h"
#include "launcher/sweep/group_store.h"
#include "launcher/sweep/live_table.h"
#include "launcher/sweep/local_programs.h"
#include "launcher/sweep/mps_server.h"
#include "launcher/sweep/process_workers.h"
#include "launcher/sweep/spool.h"
#include "launcher/sweep/step_workers.h"
#include "launcher/sweep/trial_notes.h"
#include "launcher/sweep/trial_plans.h"
#include "launcher/sweep/warm_parents.h"
#include "launcher/sweep/worker_runner.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/memory_left.h"
#include "runtime/base/text.h"
#include "runtime/comm/launch_context.h"

namespace muster {
namespace {

ProcessWorkersPlan process_plan(const SweepSettings& settings, const Path& root,
                                const SweepRunOptions& options, const Machine& machine) {
  const std::size_t slots = trials_at_once(settings, machine);
  ProcessWorkersPlan plan;
  plan.command = {options.rank_program, "--worker"};
  const auto words = worker_words(settings);
  plan.command.insert(plan.command.end(), words.begin(), words.end());
  plan.environment = without_places(options.environment);
  plan.environment["OMP_NUM_THREADS"] = "1";
  const std::size_t workers = workers_on(settings, machine);
  plan.slots_each = (slots + workers - 1) / workers;  // the coordinator asks for no more than fit
  if (const auto left = memory_left()) {
    plan.command.push_back(fmt::format("--memory={}", left->bytes / workers));
  }
  plan.shares = divide(machine, static_cast<int>(workers));
  if (settings.trial.gpus == 0) {
    plan.environment["CUDA_VISIBLE_DEVICES"] = "";
    for (auto& share : plan.shares) {
      share.gpus.clear();
    }
  } else if (workers > machine.gpus.size() && !machine.gpus.empty()) {
    plan.command.push_back(
        fmt::format("--gpu-sharers={}", (workers + machine.gpus.size() - 1) / machine.gpus.size()));
  }
  plan.log = root / "workers.log";
  return plan;
}

void warn_of_idle_cards(const SweepSettings& settings, const Machine& machine) {
  const std::size_t workers = workers_on(settings, machine);
  if (uses_cards(settings, machine) && workers < machine.gpus.size() && settings.ranks > 0) {
    log::warning(counted(workers, "worker") + ": " +
                 misfit(machine.gpus.size(), workers, "--ranks=0"));
  }
}

StepWorkersPlan step_plan(const SweepSettings& settings, const Path& root,
                          const SweepRunOptions& options, const Machine& machine, int tasks) {
  StepWorkersPlan plan;
  plan.command =
      needs_processes(settings)
          ? std::vector<std::string>{options.muster, "worker", root.string()}
          : std::vector<std::string>{options.rank_program, "--worker", "--spool", root.string()};
  if (settings.tune.parallel > 0 || !uses_cards(settings, machine)) {  // else as many as pay
    plan.command.push_back(fmt::format("--slots={}", std::max(1, settings.tune.parallel / tasks)));
  }
  for (const auto& entry : settings.slurm.entries) {
    if (entry.key == "srun") {
      const auto words = shell_words(entry.value);
      plan.srun.insert(plan.srun.end(), words.begin(), words.end());
    }
  }
  plan.tasks = tasks;
  plan.environment = options.environment;
  plan.environment["OMP_NUM_THREADS"] = "1";
  plan.log = root / "workers.log";
  return plan;
}

}  // namespace

struct SweepRun::Impl {
  Impl(const SweepSettings& given, const Keys& keys, const Resolved& resolved, SweepRunOptions how)
      : settings(given),
        options(std::move(how)),
        root(sweep_directory(settings)),
        setup(setup_of(settings)),
        lock(root, clock, [](const std::string& text) { log::warning(text); }) {
    open(keys, resolved);
  }

  void open(const Keys& keys, const Resolved& resolved);
  std::unique_ptr<WorkerSource> local_workers();
  std::unique_ptr<hpo::TrialRunner> make_runner();
  int run();
  void tidy_groups() const;
  int leave(hpo::Coordinator::Outcome outcome);
  void tell_outcome() const;
  int say_fruitless() const;  ///< the code too

  SweepSettings settings;
  SweepRunOptions options;
  Path root;
  SystemClock clock;
  Machine machine = this_machine();
  hpo::StudySetup setup;
  OwnerLock lock;
  std::unique_ptr<hpo::Study> study;
  std::unique_ptr<WorkerSource> local, spool;  // before the runner, which uses them
  std::unique_ptr<MpsServer> mps;              // outlives the trials that are its clients
  std::unique_ptr<hpo::TrialRunner> runner;
  std::unique_ptr<hpo::Coordinator> coordinator;
  std::mutex mutex;  // of the two below
  hpo::Coordinator* listening = nullptr;
  int asked = 0;  // 1: suspend, 2: stop, before anybody listened
};

/// One worker a task of a Slurm job, by srun; else those of this machine.
std::unique_ptr<WorkerSource> SweepRun::Impl::local_workers() {
  const auto slurm = slurm_job(options.environment);
  if (slurm && !slurm->is_step && slurm->tasks > 1) {
    return std::make_unique<StepWorkers>(step_plan(settings, root, options, machine, slurm->tasks),
                                         clock);
  }
  if (!needs_processes(settings)) {
    warn_of_idle_cards(settings, machine);
    return std::make_unique<ProcessWorkers>(process_plan(settings, root, options, machine), clock);
  }
  const std::size_t slots = trials_at_once(settings, machine);
  auto plan = program_plan(settings, root, options.environment, options.muster);
  mps = share_cards(
      machine, slots * static_cast<std::size_t>(settings.trial.gpus.value_or(settings.trial.ranks)),
      plan.environment);
  return std::make_unique<LocalPrograms>(std::move(plan), machine, slots, clock);
}

std::unique_ptr<hpo::TrialRunner> SweepRun::Impl::make_runner() {
  std::vector<WorkerSource*> sources{options.workers};
  if (options.workers == nullptr) {
    local = local_workers();
    spool = std::make_unique<SpoolWorkers>(root / "spool", worker_words(settings), clock);
    sources = {local.get(), spool.get()};
  }
  WorkerRunnerPlan plan;
  const bool is_free = settings.tune.parallel == 0 && settings.trial.per_gpu == "auto";
  // On one core there is nothing to find, and a sweep is a function of its seed.
  const bool has_room = !machine.gpus.empty() || trials_at_once(settings, machine) > 1;
  plan.finds_residency = is_free && has_room;
  return std::make_unique<WorkerRunner>(plan, std::move(sources), setup.space, clock);
}

/// Opens the study as it was begun, or the first time now. Until a trial has a value, what one runs
/// may be mended; what is searched, and how, belongs to the journal.
void SweepRun::Impl::open(const Keys& keys, const Resolved& resolved) {
  auto& files = posix_file_system();
  std::optional<BaseJob> job;
  if (is_job(settings)) {
    job.emplace(settings, setup.space);
  }
  files.make_directory(root / "trials");
  files.make_directory(root / "control");
  const Path file = root / "sweep.ini";
  const Path journal = root / "journal";
  const std::string& now = resolved.file_text;
  const std::string before = files.exists(journal) ? read_file_if_there(file).value_or(now) : now;
  const auto belongs_to_trials = [](const std::string& key) {
    return key.starts_with("trial.") || key.starts_with("[trial.");
  };
  if (!std::ranges::all_of(forbidden_differences(keys, now, before), belongs_to_trials)) {
    require_same_settings(keys, now, before, settings.name, root.string());
  }
  study = std::make_unique<hpo::Study>(setup, journal, clock);
  const bool has_value = study->state().best() != nullptr;
  if (has_value) {
    require_same_settings(keys, now, before, settings.name, root.string());
  }
  if (job) {
    job->settle(root, settings.name, has_value);
  }
  write_file_durably(file, now);
}

int SweepRun::Impl::run() {
  std::signal(SIGPIPE, SIG_IGN);  // a worker that dies is found by its end
  if (const auto next = study->next(); next.kind == hpo::Next::Kind::done) {
    log::info(fmt::format(
        "sweep {} is finished. Raise a limit to go on: muster resume {} --tune.max_trials N",
        settings.name, settings.name));
    return leave(hpo::Coordinator::Outcome::finished);
  }
  if (!study->state().has_begun()) {
    learn_from_parents(*study, settings);
  } else if (study->state().asked() > 0) {
    log::info(
        fmt::format("continuing sweep {} after {} trials", settings.name, study->state().asked()));
  }
  tidy_groups();
  runner = make_runner();
  LiveTable table(
      {.redraws = options.redraws,
       .slot = slot_cost(settings, machine),
       .resource = is_job(settings) ? "epochs" : settings.tune.resource.value_or("reports")},
      clock);
  hpo::CoordinatorOptions how;
  how.parallel = static_cast<std::size_t>(std::max(0, settings.tune.parallel));
  if (settings.tune.ahead) {
    how.ahead = static_cast<std::size_t>(*settings.tune.ahead);
  }
  how.control = root / "control";
  TrialNotes notes(root / "trials", settings.trial.ranks,
                   is_job(settings) && needs_processes(settings) && options.workers == nullptr);
  how.on_change = [&table, &notes](const hpo::Study& now) {
    table.show(now);
    notes.write(now.state());
  };
  coordinator = std::make_unique<hpo::Coordinator>(*study, *runner, clock, std::move(how));
  {
    const std::lock_guard guard(mutex);
    listening = coordinator.get();
    if (asked > 0) {
      asked == 1 ? listening->suspend() : listening->stop();
    }
  }
  const auto outcome = coordinator->run();
  {
    const std::lock_guard guard(mutex);
    listening = nullptr;
  }
  table.finish(*study);
  return leave(outcome);
}

/// While no worker runs.
void SweepRun::Impl::tidy_groups() const {
  std::vector<std::uint32_t> live;
  for (const auto& trial : study->state().trials()) {
    if (!hpo::is_final(trial.state)) {
      live.push_back(trial.id);
    }
  }
  GroupStore(root / "checkpoints").tidy(live);
}

int SweepRun::Impl::leave(hpo::Coordinator::Outcome outcome) {
  if (spool) {
    spool->close(outcome != hpo::Coordinator::Outcome::suspended);
  }
  write_sweep_results(settings, study->state(), study->now());
  tell_outcome();
  switch (outcome) {
    case hpo::Coordinator::Outcome::finished:
      return study->state().best() == nullptr ? say_fruitless() : exit_finished;
    case hpo::Coordinator::Outcome::suspended:
      log::info("all running trials are saved; the same command goes on from here");
      return exit_saved;
    case hpo::Coordinator::Outcome::stopped:
      log::info(fmt::format("stopped by hand, all saved; muster resume {} goes on", settings.name));
      return exit_stopped;
  }
  return exit_failed;
}

int SweepRun::Impl::say_fruitless() const {
  const auto& trials = study->state().trials();
  const auto last = std::ranges::find_if(
      trials.rbegin(), trials.rend(),
      [](const hpo::Trial& trial) { return trial.state == hpo::TrialState::failed; });
  const std::string why = last == trials.rend() ? ""
                                                : fmt::format("; trial {} failed: {}", last->id,
                                                              study->state().why(*last));
  log::error(
      fmt::format("no trial has a value of {}{}. Once that is mended, muster resume {} with a "
                  "higher limit goes on, or begin anew: --name {}-2",
                  setup.metric, why, settings.name, settings.name));
  return exit_failed;
}

void SweepRun::Impl::tell_outcome() const {
  const auto& state = study->state();
  fmt::print("{}: {} trials, {}\n", setup.name, state.trials().size(),
             state.over() ? "over: " + *state.over() : "not over: the same command goes on");
  if (const double lost = hpo::lost_seconds(state); lost >= 1) {
    fmt::print("trial time lost to failures and preemption: {:.0f} s\n", lost);
  }
  if (const auto* best = state.best()) {
    fmt::print("best: trial {}, {} = {}\n", best->id, setup.metric, exact(*best->value));
    for (const auto& [key, word] : setup.space.params(best->config)) {
      fmt::print("  {} = {}\n", key, word);
    }
    const bool has_model = !posix_file_system().list(root / "best" / "model").empty();
    fmt::print("its configuration{}: {}\n", has_model ? " and model" : "",
               (root / "best").string());
  }
  fmt::print("report: {}\n", (root / "report.html").string());
}

SweepRun::SweepRun(const SweepSettings& settings, const Keys& keys, const Resolved& resolved,
                   SweepRunOptions options)
    : impl_(std::make_unique<Impl>(settings, keys, resolved, std::move(options))) {}
SweepRun::~SweepRun() = default;

int SweepRun::run() {
  return impl_->run();
}

void SweepRun::suspend() {
  const std::lock_guard guard(impl_->mutex);
  impl_->asked = std::max(impl_->asked, 1);
  if (impl_->listening != nullptr) {
    impl_->listening->suspend();
  }
}

void SweepRun::stop() {
  const std::lock_guard guard(impl_->mutex);
  impl_->asked = 2;
  if (impl_->listening != nullptr) {
    impl_->listening->stop();
  }
}

}  // namespace muster
