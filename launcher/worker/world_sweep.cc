// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/world_sweep.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <mutex>
#include <optional>
#include <thread>

#include "collectives/mpi/ranks_of_group.h"
#include "launcher/cli/command.h"
#include "launcher/engine/machine_place.h"
#include "launcher/engine/resources.h"
#include "launcher/rank/rank_gpu.h"
#include "launcher/sweep/program_worker.h"
#include "launcher/sweep/sweep_run.h"
#include "launcher/sweep/trial_plans.h"
#include "launcher/worker/trial_worker.h"
#include "launcher/worker/worker_main.h"
#include "launcher/worker/world_links.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/memory_left.h"
#include "runtime/base/text.h"
#include "runtime/config/sweep.h"

namespace muster {
namespace {

struct WorldSweep {
  SweepSettings settings;
  Keys keys;
  Resolved resolved;
};

/// Nothing when the words asked for help.
std::unique_ptr<WorldSweep> read_settings(const std::vector<std::string>& arguments) {
  auto sweep = std::make_unique<WorldSweep>();
  describe(sweep->keys, sweep->settings);
  const auto line = take_command_line(
      sweep->keys, arguments,
      {.usage = "mpirun -np N muster-rank --tune SWEEP.ini [--section.key value ...]",
       .about = "A sweep as one MPI world: rank 0 coordinates, the others work, together where a "
                "trial is of several ranks (trial.ranks). 'muster tune' needs no mpirun on one "
                "machine."});
  if (!line) {
    return nullptr;
  }
  if (line->words.size() != 1) {
    throw Error(Fault::bad_input, "it takes one sweep file: muster-rank --tune SWEEP.ini");
  }
  sweep->resolved = load(sweep->keys, {line->words[0], current_environment(), line->options});
  if (sweep->settings.name.empty()) {
    sweep->settings.name = stem_of(line->words[0]);
  }
  return sweep;
}

/// Which ranks work together: 1 to k, k + 1 to 2 k, and so on. Rank 0 coordinates; what is left
/// over at the end has nothing to do.
class Teams {
 public:
  Teams(const SweepSettings& settings, int world)
      : size_(is_job(settings) ? settings.trial.ranks : 1), count_((world - 1) / size_) {}
  int size() const { return size_; }
  int count() const { return count_; }
  std::optional<int> team_of(int rank) const {
    const int team = (rank - 1) / size_;
    return rank > 0 && team < count_ ? std::optional(team) : std::nullopt;
  }
  int leader_of(int team) const { return 1 + team * size_; }
  std::vector<int> leaders() const {
    std::vector<int> ranks;
    for (int team = 0; team < count_; ++team) {
      ranks.push_back(leader_of(team));
    }
    return ranks;
  }

 private:
  int size_;
  int count_;
};

void check_size(const Teams& teams, int world) {
  if (teams.count() > 0) {
    return;
  }
  throw Error(
      Fault::bad_input,
      fmt::format("a sweep as an MPI world needs {} ranks or more, one to coordinate and {} "
                  "for a trial, not {}: mpirun -np {} muster-rank --tune SWEEP.ini; 'muster "
                  "tune' starts workers by itself",
                  teams.size() + 1, teams.size(), world, 2 * teams.size() + 1));
}

class TeamOfRanks final : public LaneTeam {
 public:
  explicit TeamOfRanks(std::unique_ptr<Ranks> ranks) : ranks_(std::move(ranks)) {}
  RankGroups groups() override {
    return {ranks_->node(), ranks_->lane() != nullptr ? *ranks_->lane() : *alone_, ranks_->world()};
  }
  ControlHeader& control() override { return ranks_->page().header(); }
  RankSlot* slot() override { return &ranks_->slot(); }
  GpuParts gpu(const TrainSettings& train) override {
    gpu_ = std::make_unique<RankGpu>(train, ranks_->world(), &ranks_->slot(), control());
    return gpu_->parts();
  }
  void finish() override {
    gpu_.reset();
    ranks_->finish();
  }

 private:
  std::unique_ptr<Communicator> alone_ = solo_communicator();
  std::unique_ptr<Ranks> ranks_;
  std::unique_ptr<RankGpu> gpu_;
};

/// Lanes speak from their threads; the main thread sends.
class EventQueue {
 public:
  void put(const WorkerEvent& event) {
    const std::lock_guard lock(mutex_);
    lines_ += line_of(event);
  }
  std::string take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(lines_, {});
  }

 private:
  std::mutex mutex_;
  std::string lines_;
};

/// What one rank of the machine may use of it.
Machine own_share(MachinePlace place) {
  const Machine all = this_machine();
  const auto shares = divide(all, place.local_size);
  const auto& share = shares.at(static_cast<std::size_t>(place.local_rank) % shares.size());
  return {share.cpus, own_cards(all.gpus, place)};
}

std::unique_ptr<SweepWorker> make_worker(const WorldSweep& sweep, std::size_t slots,
                                         OpenTeam open_team, Clock& clock, SweepWorker::Say say) {
  const auto& settings = sweep.settings;
  const auto place = machine_place(process_environment());
  if (!is_job(settings)) {
    return std::make_unique<ProgramWorker>(
        program_plan(settings, sweep_directory(settings), process_environment(), ""),
        own_share(place), slots, clock, std::move(say));
  }
  see_cards_of_worker(settings);
  TrialWorkerPlan plan = worker_plan_from(job_worker_words(settings));
  plan.open_team = std::move(open_team);
  if (const auto left = memory_left()) {
    plan.memory = left->bytes / static_cast<std::uint64_t>(place.local_size);
  }
  return std::make_unique<TrialWorker>(std::move(plan), std::move(say));
}

/// One rank that works, to the last order. A team's first rank hands its orders to start and to
/// end on: the others begin and end with it.
class WorldWorker {
 public:
  WorldWorker(const WorldSweep& sweep, WorldPost& post, const Teams& teams, std::size_t slots,
              const OpenTeam& open_team)
      : post_(post),
        leader_(teams.leader_of(*teams.team_of(post.rank()))),
        size_(teams.size()),
        worker_(make_worker(sweep, slots, open_team, clock_,
                            [this](const WorkerEvent& event) { events_.put(event); })) {}

  void run() {
    while (!is_over_) {
      post_.poll();
      const auto letters = post_.from(is_leader() ? 0 : leader_);
      for (const auto& letter : letters) {
        obey(letter);
      }
      worker_->advance();
      if (auto said = events_.take(); !said.empty()) {
        post_.send(0, PostTag::event, std::move(said));
      } else if (letters.empty()) {
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    }
    post_.drain();
  }

 private:
  bool is_leader() const { return post_.rank() == leader_; }
  void obey(const Letter& letter) {
    is_over_ = is_over_ || letter.tag == PostTag::end;
    for (const auto& line : split(trim(letter.text), '\n')) {
      if (line.empty()) {
        continue;
      }
      const WorkerOrder order = order_from(line);
      if (order.kind == WorkerOrder::Kind::start) {
        hand_on({.tag = PostTag::order, .text = line});
      }
      worker_->obey(order);
    }
    if (is_over_) {
      hand_on(letter);
    }
  }
  void hand_on(const Letter& letter) {
    for (int rank = leader_ + 1; is_leader() && rank < leader_ + size_; ++rank) {
      post_.send(rank, letter.tag, letter.text);
    }
  }

  WorldPost& post_;
  int leader_;
  int size_;
  SystemClock clock_;
  EventQueue events_;
  bool is_over_ = false;
  std::unique_ptr<SweepWorker> worker_;  // dies first: its lanes speak
};

/// A rank that is left over.
void wait_for_the_end(WorldPost& post, const Teams& teams) {
  log::info(fmt::format("rank {} is one too many for trials of {} ranks: it does nothing",
                        post.rank(), teams.size()));
  do {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    post.poll();
  } while (post.from(0).empty());
}

int coordinate(WorldSweep& sweep, WorldPost& post, const Teams& teams, std::size_t slots_each,
               const std::function<bool()>& wants_out) {
  SweepRun* to_suspend = nullptr;
  const auto workers = rank_workers(post, teams.leaders(), slots_each, [&] {
    if (to_suspend != nullptr && wants_out()) {
      to_suspend->suspend();
    }
  });
  SweepRunOptions options;
  options.environment = process_environment();
  options.workers = workers.get();
  int code = exit_finished;
  {
    SweepRun run(sweep.settings, sweep.keys, sweep.resolved, std::move(options));
    to_suspend = &run;
    code = run.run();
  }
  for (int rank = 1 + teams.count() * teams.size(); rank < post.size(); ++rank) {
    post.send(rank, PostTag::end, "");
  }
  post.drain();  // the last orders
  return code;
}

/// Trials at once in one worker.
std::size_t slots_each(const SweepSettings& settings, const Teams& teams) {
  const auto parallel = static_cast<std::size_t>(std::max(0, settings.tune.parallel));
  return teams.size() > 1
             ? 1
             : std::max<std::size_t>(1, parallel / static_cast<std::size_t>(teams.count()));
}

/// The ranks of each team as a communicator of theirs. Collective.
MPI_Comm split_world(MpiWorld& world, const Teams& teams, int rank) {
  MPI_Comm own = MPI_COMM_NULL;
  world.run([&] {
    const int colour = teams.team_of(rank).value_or(MPI_UNDEFINED);
    check_mpi(MPI_Comm_split(MPI_COMM_WORLD, colour, rank, &own), "MPI_Comm_split");
  });
  return own;
}

}  // namespace

int tune_world(const std::vector<std::string>& arguments, const std::function<bool()>& wants_out) {
  const auto sweep = read_settings(arguments);
  if (!sweep) {
    return exit_finished;
  }
  MpiWorld world;
  WorldPost post(world);
  log::set_label({.rank = post.rank(), .trial = {}});
  const Teams teams(sweep->settings, post.size());
  check_size(teams, post.size());
  at::set_num_threads(1);
  const MPI_Comm own = split_world(world, teams, post.rank());
  const std::size_t slots = slots_each(sweep->settings, teams);
  const OpenTeam open_team = [&]() -> std::unique_ptr<LaneTeam> {
    return std::make_unique<TeamOfRanks>(ranks_of_group(world, own));
  };
  int code = exit_finished;
  try {
    if (post.rank() == 0) {
      code = coordinate(*sweep, post, teams, slots, wants_out);
    } else if (teams.team_of(post.rank())) {
      WorldWorker(*sweep, post, teams, slots, teams.size() > 1 ? open_team : nullptr).run();
    } else {
      wait_for_the_end(post, teams);
    }
  } catch (const std::exception& error) {
    log::error(report(error));
    world.run([&] { MPI_Abort(MPI_COMM_WORLD, exit_code_of(error)); });
  }
  world.run([&] { MPI_Bcast(&code, 1, MPI_INT, 0, MPI_COMM_WORLD); });
  world.finish();
  return code;
}

}  // namespace muster
