// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/world_sweep.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <mpi.h>

#include <deque>
#include <mutex>
#include <thread>

#include "launcher/cli/command.h"
#include "launcher/engine/resources.h"
#include "launcher/sweep/sweep_run.h"
#include "launcher/sweep/worker_link.h"
#include "launcher/worker/trial_worker.h"
#include "launcher/worker/worker_main.h"
#include "runtime/base/error.h"
#include "runtime/base/exit_codes.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/config/sweep.h"

namespace muster {
namespace {

constexpr int order_tag = 1;
constexpr int event_tag = 2;
constexpr int end_tag = 3;  // to a worker: no more orders

class World {
 public:
  World() {
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
  }
  ~World() { MPI_Finalize(); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  int rank = 0;
  int size = 1;
};

/// Lines to one rank, in order. Messages are small, so a send ends as soon as it is copied.
class Outbox {
 public:
  explicit Outbox(int to) : to_(to) {}
  void send(std::string text, int tag) {
    pending_.push_back({std::move(text), MPI_REQUEST_NULL});
    auto& last = pending_.back();
    MPI_Isend(last.text.data(), static_cast<int>(last.text.size()), MPI_CHAR, to_, tag,
              MPI_COMM_WORLD, &last.request);
    collect(false);
  }
  void collect(bool waits) {
    while (!pending_.empty()) {
      int is_done = 1;
      if (waits) {
        MPI_Wait(&pending_.front().request, MPI_STATUS_IGNORE);
      } else {
        MPI_Test(&pending_.front().request, &is_done, MPI_STATUS_IGNORE);
      }
      if (is_done == 0) {
        return;
      }
      pending_.pop_front();
    }
  }

 private:
  struct Message {
    std::string text;
    MPI_Request request;
  };
  int to_;
  std::deque<Message> pending_;  // a deque: messages stay where they are
};

/// The next message of this rank, if one is there.
struct Received {
  int tag = 0;
  std::string text;
};
std::optional<Received> receive_from(int rank) {
  int is_there = 0;
  MPI_Status status;
  MPI_Iprobe(rank, MPI_ANY_TAG, MPI_COMM_WORLD, &is_there, &status);
  if (is_there == 0) {
    return std::nullopt;
  }
  int length = 0;
  MPI_Get_count(&status, MPI_CHAR, &length);
  Received received{.tag = status.MPI_TAG,
                    .text = std::string(static_cast<std::size_t>(length), '\0')};
  MPI_Recv(received.text.data(), length, MPI_CHAR, rank, status.MPI_TAG, MPI_COMM_WORLD,
           MPI_STATUS_IGNORE);
  return received;
}

class RankLink final : public WorkerLink {
 public:
  RankLink(int rank, std::size_t slots) : rank_(rank), slots_(slots), outbox_(rank) {}
  ~RankLink() override {
    outbox_.send("", end_tag);
    outbox_.collect(true);
  }
  std::string name() const override { return fmt::format("rank {}", rank_); }
  std::size_t slots() const override { return slots_; }
  void send(std::string_view lines) override { outbox_.send(std::string(lines), order_tag); }
  std::optional<WorkerEnd> ended() override { return std::nullopt; }  // MPI ends all with one
  void receive(std::vector<std::string>& lines) override {
    outbox_.collect(false);
    while (const auto message = receive_from(rank_)) {
      for (auto& line : split(message->text, '\n')) {
        if (!line.empty()) {
          lines.push_back(std::move(line));
        }
      }
    }
  }

 private:
  int rank_;
  std::size_t slots_;
  Outbox outbox_;
};

class RankWorkers final : public WorkerSource {
 public:
  RankWorkers(int size, std::size_t slots_each, std::function<void()> on_look)
      : size_(size), slots_each_(slots_each), on_look_(std::move(on_look)) {}
  std::vector<std::unique_ptr<WorkerLink>> joined() override {
    on_look_();
    std::vector<std::unique_ptr<WorkerLink>> links;
    for (; next_ < size_; ++next_) {
      links.push_back(std::make_unique<RankLink>(next_, slots_each_));
    }
    return links;
  }
  std::chrono::milliseconds look_every() const override { return std::chrono::milliseconds(1); }

 private:
  int size_;
  int next_ = 1;
  std::size_t slots_each_;
  std::function<void()> on_look_;
};

/// Lanes speak from their threads; the main thread sends.
class EventQueue {
 public:
  void put(std::string line) {
    const std::lock_guard lock(mutex_);
    lines_ += line;
  }
  std::string take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(lines_, {});
  }

 private:
  std::mutex mutex_;
  std::string lines_;
};

void work(const TrialWorkerPlan& plan) {
  at::set_num_threads(1);
  EventQueue events;
  TrialWorker worker(plan, [&events](const WorkerEvent& event) { events.put(line_of(event)); });
  Outbox outbox(0);
  for (bool is_over = false; !is_over;) {
    const auto order = receive_from(0);
    if (order && order->tag == order_tag) {
      worker.obey(order_from(trim(order->text)));
    }
    is_over = order && order->tag == end_tag;
    if (auto said = events.take(); !said.empty()) {
      outbox.send(std::move(said), event_tag);
    } else if (!order) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    outbox.collect(false);
  }
  outbox.collect(true);
}

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
       .about = "A sweep as one MPI world: rank 0 coordinates, the others work. 'muster tune' "
                "needs no mpirun on one machine."});
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
  if (!sweep->settings.trial.job) {
    throw Error(Fault::bad_input,
                "a sweep as an MPI world tunes a Muster job (trial.job): programs as trials are "
                "started by 'muster tune'");
  }
  return sweep;
}

int coordinate(WorldSweep& sweep, int size, const std::function<bool()>& wants_out) {
  const auto workers = static_cast<std::size_t>(size - 1);
  const auto parallel = static_cast<std::size_t>(std::max(0, sweep.settings.tune.parallel));
  const std::size_t slots_each = std::max<std::size_t>(1, parallel / workers);
  SweepRun* to_suspend = nullptr;
  RankWorkers ranks(size, slots_each, [&] {
    if (to_suspend != nullptr && wants_out()) {
      to_suspend->suspend();
    }
  });
  SweepRunOptions options;
  options.environment = process_environment();
  options.workers = &ranks;
  SweepRun run(sweep.settings, sweep.keys, sweep.resolved, std::move(options));
  to_suspend = &run;
  return run.run();
}

}  // namespace

int tune_world(const std::vector<std::string>& arguments, const std::function<bool()>& wants_out) {
  const World world;
  log::set_label({.rank = world.rank, .trial = {}});
  const auto sweep = read_settings(arguments);
  if (!sweep) {
    return exit_finished;
  }
  if (world.size < 2) {
    throw Error(Fault::bad_input,
                "a sweep as an MPI world needs two ranks or more: mpirun -np 3 muster-rank --tune "
                "SWEEP.ini; 'muster tune' starts workers by itself");
  }
  int code = exit_finished;
  if (world.rank > 0) {
    work(worker_plan_from(worker_words(sweep->settings)));
  } else {
    try {
      code = coordinate(*sweep, world.size, wants_out);
    } catch (const std::exception& error) {
      log::error(report(error));
      MPI_Abort(MPI_COMM_WORLD, exit_code_of(error));
    }
  }
  MPI_Bcast(&code, 1, MPI_INT, 0, MPI_COMM_WORLD);
  return code;
}

}  // namespace muster
