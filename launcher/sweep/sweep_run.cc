// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/sweep_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <mutex>

#include "launcher/engine/owner_lock.h"
#include "launcher/engine/resources.h"
#include "launcher/engine/slurm_environment.h"
#include "launcher/sweep/group_store.h"
#include "launcher/sweep/live_table.h"
#include "launcher/sweep/mps_server.h"
#include "launcher/sweep/process_runner.h"
#include "launcher/sweep/process_workers.h"
#include "launcher/sweep/spool.h"
#include "launcher/sweep/step_workers.h"
#include "launcher/sweep/warm_parents.h"
#include "launcher/sweep/worker_runner.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/comm/launch_context.h"
#include "runtime/config/job.h"

namespace muster {
namespace {

bool is_job(const SweepSettings& settings) {
  return settings.trial.job.has_value();
}

bool resumes(const SweepSettings& settings) {
  return settings.trial.resumes.value_or(is_job(settings));
}

/// What the job is with these words: a key that it does not have is found here, before any trial.
Resolved job_with(const std::string& file, const hpo::Space::Params& params) {
  JobSettings job;
  Keys keys;
  describe(keys, job);
  Sources sources{.file = file, .environment = {}, .arguments = {}};
  for (const auto& [key, word] : params) {
    sources.arguments.push_back("--" + key + "=" + word);
  }
  return load(keys, sources);
}

void check_job(const SweepSettings& settings, const hpo::Space& space) {
  within("checking that the job takes what [search] searches", [&] {
    Random random(settings.tune.seed);
    job_with(*settings.trial.job, space.params(space.sample(random)));
  });
}

/// The sweep as it was begun, or the first time now.
void settle(const Path& root, const Keys& keys, const Resolved& resolved) {
  auto& files = posix_file_system();
  files.make_directory(root / "trials");
  files.make_directory(root / "control");
  const auto before = read_file_if_there(root / "sweep.ini");
  if (before) {
    const auto differences = forbidden_differences(keys, resolved.file_text, *before);
    if (!differences.empty()) {
      throw Error(Fault::bad_input, fmt::format("{} was begun with other settings: {}. Take them "
                                                "back, or give this one another name: --name NEW",
                                                root.string(), join(differences, ", ")));
    }
  }
  write_file_durably(root / "sweep.ini", resolved.file_text);
}

/// Bytes that programs may still take here; 0 when the machine does not tell.
std::uint64_t available_memory() {
  for (const auto& line : split(read_file_if_there("/proc/meminfo").value_or(""), '\n')) {
    const auto parts = words(line);
    if (parts.size() > 1 && parts[0] == "MemAvailable:") {
      return static_cast<std::uint64_t>(parse_int(parts[1]).value_or(0)) * 1024;
    }
  }
  return 0;
}

std::size_t slots_of(const SweepSettings& settings, const Machine& machine) {
  const auto cpus = static_cast<std::size_t>(std::max(1, settings.trial.cpus.value_or(1)));
  const std::size_t by_cores = std::max<std::size_t>(1, machine.cpus.size() / cpus);
  const auto per_gpu = parse_int(settings.trial.per_gpu);
  const std::size_t by_cards =
      machine.gpus.size() *
      static_cast<std::size_t>(std::max<std::int64_t>(1, per_gpu.value_or(1)));
  const std::size_t natural =
      machine.gpus.empty() || settings.trial.gpus == 0 ? by_cores : by_cards;
  const auto wanted = static_cast<std::size_t>(std::max(0, settings.tune.parallel));
  return std::max({wanted, wanted == 0 ? natural : std::size_t{1},
                   static_cast<std::size_t>(settings.trial.ranks)});
}

ProgramTrialPlan program_plan(const SweepSettings& settings, const hpo::StudySetup& setup,
                              const Path& root, const Environment& environment) {
  ProgramTrialPlan plan;
  plan.sweep = settings.name;
  plan.trials = root / "trials";
  if (is_job(settings)) {
    plan.is_job = true;
    plan.command = {std::filesystem::read_symlink("/proc/self/exe").string(), "train",
                    std::filesystem::absolute(*settings.trial.job).string(),
                    fmt::format("--ranks={}", settings.trial.ranks)};
    plan.resource_argument = setup.max_resource() ? "train.epochs" : "";
    plan.resource_metric = "epoch";
  } else {
    plan.command = shell_words(*settings.trial.command);
    plan.resource_argument = settings.tune.resource.value_or("");
  }
  plan.directory = std::filesystem::absolute(settings.trial.directory);
  plan.style = argument_style(settings.trial.arguments);
  for (const auto& entry : settings.trial.metrics) {
    plan.metrics.emplace_back(entry.key, entry.value);
  }
  for (const auto& entry : settings.trial.channels) {
    plan.channels.push_back({.name = entry.key, .path = entry.value, .content_type = ""});
  }
  plan.objective = setup.metric;
  plan.ranks = settings.trial.ranks;
  plan.memory = settings.trial.memory;
  plan.timeout = settings.trial.timeout;
  plan.grace = settings.trial.grace;
  plan.environment = without_places(environment);
  LineMetrics check(plan.metrics);  // a bad expression is found before the first trial
  return plan;
}

ProcessWorkersPlan process_plan(const SweepSettings& settings, const Path& root,
                                const SweepRunOptions& options, const Machine& machine) {
  const std::size_t slots = slots_of(settings, machine);
  ProcessWorkersPlan plan;
  plan.command = {options.rank_program, "--worker"};
  const auto words = worker_words(settings);
  plan.command.insert(plan.command.end(), words.begin(), words.end());
  plan.environment = without_places(options.environment);
  plan.environment["OMP_NUM_THREADS"] = "1";
  const auto workers = static_cast<std::size_t>(std::max(1, settings.ranks));
  plan.slots_each = std::max<std::size_t>(1, slots / workers);
  for (const auto& share : divide(machine, static_cast<int>(workers))) {
    plan.cpus.push_back(share.cpus);
  }
  plan.log = root / "workers.log";
  return plan;
}

StepWorkersPlan step_plan(const SweepSettings& settings, const Path& root,
                          const SweepRunOptions& options, int tasks) {
  StepWorkersPlan plan;
  const int each = std::max(1, settings.tune.parallel / tasks);
  plan.command = {options.rank_program, "--worker", "--spool", root.string(),
                  fmt::format("--slots={}", each)};
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

Path sweep_directory(const SweepSettings& settings) {
  return std::filesystem::absolute(Path(settings.sweeps) / settings.name);
}

std::vector<std::string> worker_words(const SweepSettings& settings) {
  const auto setup =
      hpo::study_setup(settings.name, settings.tune, settings.search, resumes(settings));
  std::vector<std::string> words{"--job",       std::filesystem::absolute(*settings.trial.job),
                                 "--sweep",     sweep_directory(settings).string(),
                                 "--objective", setup.metric};
  if (const auto most = setup.max_resource()) {
    words.insert(words.end(), {"--max-resource", exact(*most)});
  }
  return words;
}

struct SweepRun::Impl {
  Impl(const SweepSettings& given, const Keys& keys, const Resolved& resolved, SweepRunOptions how)
      : settings(given),
        options(std::move(how)),
        root(sweep_directory(settings)),
        setup(hpo::study_setup(settings.name, settings.tune, settings.search, resumes(settings))),
        lock(root, clock, [](const std::string& text) { log::warning(text); }) {
    if (is_job(settings)) {
      check_job(settings, setup.space);
    }
    settle(root, keys, resolved);
    study = std::make_unique<hpo::Study>(setup, root / "journal", clock);
  }

  std::unique_ptr<hpo::TrialRunner> make_runner() {
    if (!is_job(settings) || settings.trial.ranks > 1) {
      const std::size_t slots = slots_of(settings, machine);
      ProgramTrialPlan plan = program_plan(settings, setup, root, options.environment);
      mps = share_cards(machine, slots, plan.environment);
      return std::make_unique<ProcessRunner>(std::move(plan), setup.space, machine, slots, clock);
    }
    if (options.workers == nullptr) {
      const auto slurm = slurm_job(options.environment);
      if (slurm && !slurm->is_step && slurm->tasks > 1) {
        local =
            std::make_unique<StepWorkers>(step_plan(settings, root, options, slurm->tasks), clock);
      } else {
        local = std::make_unique<ProcessWorkers>(process_plan(settings, root, options, machine));
      }
      spool = std::make_unique<SpoolWorkers>(root / "spool", worker_words(settings), clock);
    }
    std::vector<WorkerSource*> sources;
    for (WorkerSource* source : {options.workers, static_cast<WorkerSource*>(local.get()),
                                 static_cast<WorkerSource*>(spool.get())}) {
      if (source != nullptr) {
        sources.push_back(source);
      }
    }
    WorkerRunnerPlan plan;
    plan.finds_residency = settings.tune.parallel == 0 && settings.trial.per_gpu == "auto";
    plan.memory_each = available_memory() / static_cast<std::uint64_t>(std::max(1, settings.ranks));
    return std::make_unique<WorkerRunner>(plan, std::move(sources), setup.space, clock);
  }

  int run();
  void tidy_groups() const;
  int leave(hpo::Coordinator::Outcome outcome);
  void tell_outcome() const;

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

int SweepRun::Impl::run() {
  std::signal(SIGPIPE, SIG_IGN);  // a worker that dies is found by its end
  if (const auto next = study->next(); next.kind == hpo::Next::Kind::done) {
    log::info(fmt::format(
        "sweep {} is finished. Raise a limit to go on: muster resume {} --tune.max_trials N",
        settings.name, settings.name));
    return leave(hpo::Coordinator::Outcome::finished);
  }
  if (study->state().asked() == 0 && !settings.tune.warm_start.empty()) {
    learn_from_parents(*study, settings);
  } else if (study->state().asked() > 0) {
    log::info(
        fmt::format("continuing sweep {} after {} trials", settings.name, study->state().asked()));
  }
  tidy_groups();
  runner = make_runner();
  LiveTable table(
      {.redraws = options.redraws,
       .width = options.width,
       .slots = runner->slots().count(),
       .resource = is_job(settings) ? "epochs" : settings.tune.resource.value_or("reports")},
      clock);
  hpo::CoordinatorOptions how;
  how.parallel = static_cast<std::size_t>(std::max(0, settings.tune.parallel));
  how.shares = static_cast<std::size_t>(settings.trial.ranks);
  if (settings.tune.ahead) {
    how.ahead = static_cast<std::size_t>(*settings.tune.ahead);
  }
  how.control = root / "control";
  how.on_change = [&table](const hpo::Study& now) { table.show(now); };
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
      return exit_finished;
    case hpo::Coordinator::Outcome::suspended:
      log::info("all running trials are saved; the same command goes on from here");
      return exit_saved;
    case hpo::Coordinator::Outcome::stopped:
      log::info(fmt::format("stopped by hand, all saved; muster resume {} goes on", settings.name));
      return exit_stopped;
  }
  return exit_failed;
}

void SweepRun::Impl::tell_outcome() const {
  const auto& state = study->state();
  fmt::print("{}: {} trials, {}\n", setup.name, state.trials().size(),
             state.over() ? "over: " + *state.over() : "not over: the same command goes on");
  if (const auto* best = state.best()) {
    fmt::print("best: trial {}, {} = {}\n", best->id, setup.metric, exact(*best->value));
    for (const auto& [key, word] : setup.space.params(best->config)) {
      fmt::print("  {} = {}\n", key, word);
    }
    fmt::print("its configuration and model: {}\n", (root / "best").string());
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
