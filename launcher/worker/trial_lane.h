/// TrialLane: one launch of one trial, as a thread. It trains to its target, reports each epoch,
/// waits there for the answer, and leaves its state with its keeper when it is told to pause or to
/// make room. A trial of several ranks has a lane in each: the first speaks and decides for all.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "launcher/sweep/worker_messages.h"
#include "launcher/worker/lane_team.h"
#include "launcher/worker/trial_keeper.h"
#include "launcher/worker/trial_log.h"
#include "runtime/base/clock.h"
#include "runtime/config/job.h"
#include "runtime/data/dataset.h"
#include "runtime/gpu/admission.h"
#include "runtime/gpu/gpu.h"
#include "runtime/track/metrics_writer.h"
#include "runtime/train/trainer.h"

namespace muster {

/// A trial's own job, and what the search says of it.
struct TrialJob {
  JobSettings settings;
  std::string file_text;  ///< resolved: what the trial's directory keeps
};

/// The GPU that a worker's lanes share, each with streams, memory pool and graphs of its own.
struct LaneGpus {
  Gpus* gpus = nullptr;
  ResidentSets sets;
};

/// What a lane needs of the worker around it.
struct LaneHost {
  std::function<void(const WorkerEvent&)> say;
  /// `key`: what tells the data sets of two trials apart.
  std::function<std::shared_ptr<DataSets>(const JobSettings&, const std::string& key)> data;
  OpenTeam open_team = team_of_one;
  bool is_team = false;  ///< trials are of several ranks
  Path trials;           ///< sweeps/NAME/trials
  Path group;            ///< sweeps/NAME/checkpoints: commits of all trials together
  std::string objective;
  double commit_seconds = 30;
  Admission* admission = nullptr;  ///< to the memory that the lanes share; null: all enter
  LaneGpus* gpus = nullptr;        ///< null: on the CPU
  /// Set when a trial was refused memory: from then on nothing stays in it that is on the disk.
  std::atomic<bool>* is_tight = nullptr;
};

/// "evicted" where memory was refused, which is no fault of the trial, else "failed".
std::string state_after(const std::exception& error);

class TrialLane final : public TrainObserver, private StateKeeper {
 public:
  /// `job` is the trial's own; `kept`: its state, when this process still has it.
  TrialLane(const LaneHost& host, TrialJob job, const WorkerOrder& start,
            std::unique_ptr<Snapshot> kept);
  ~TrialLane() override;

  void answer(const WorkerOrder& order);
  /// Ends at the next step boundary with the state kept; says nothing.
  void suspend();
  /// The thread has ended; nothing more is said.
  bool is_over() const;
  void join();
  /// What was left: after a pause or suspend. Null when the trial is over, had not begun, or is
  /// durable already.
  std::unique_ptr<Snapshot> take_snapshot();
  std::uint32_t trial() const { return trial_; }
  bool was_suspended() const { return was_suspended_; }

  Verdict on_report(const TrainReport& report) override;
  void on_remark(const std::string& text) override;
  void on_progress(const TrainReport& report) override;

 private:
  /// How a launch goes on, or ends.
  enum class Order : std::int32_t { none, pause, stop, complete, suspend };
  bool due(std::uint64_t step) override;
  void save(const StateTree& tree, std::uint64_t step, std::optional<double> score) override;
  void run();
  void fail(const std::exception& error);
  bool has_lost_gpu() const;
  void end();
  void release();
  void train();
  void build(const RankGroups& groups);
  bool enter_memory();
  GpuParts gpu_parts();
  void note_memory(std::uint64_t step);
  void bring_state();
  void leave_early();
  void leave(TrainEnd end);
  Order agreed_order(TrainEnd end);
  void pause();
  void warn_of_loss(const std::string& problem);
  void complete(bool is_answered);
  void open_records();
  void export_model();
  void save_when_there_is_room(const std::string& form);
  void tell(const TrainReport& report);
  Verdict next_verdict(double reached);
  double agreed(double own);
  void extend(double epochs);
  void say(const WorkerEvent& event);
  WorkerEvent event(WorkerEvent::Kind kind);
  bool is_first() { return team_->groups().world.rank() == 0; }
  void notify(Notice notice);
  Path directory() const;

  const LaneHost& host_;
  JobSettings job_;
  std::string file_text_;
  std::vector<std::pair<std::string, std::string>> parameters_;
  std::uint32_t trial_;
  double from_;  // reported before: what is trained again after a crash is not told twice
  std::unique_ptr<Snapshot> kept_;
  std::unique_ptr<LaneTeam> team_;
  std::unique_ptr<TrialKeeper> keeper_;
  std::shared_ptr<DataSets> data_;
  std::optional<Admission::Lease> lease_;
  std::unique_ptr<Gpu> gpu_;
  Gpu* used_gpu_ = nullptr;  // that, or its team's
  bool is_measured_ = false;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Trainer> trainer_;
  std::unique_ptr<MetricsWriter> records_;
  std::unique_ptr<TrialLog> log_;  // from and to the thread's own beginning and end
  std::uint64_t whole_steps_ = 0;  // of the job, whatever the rung
  std::optional<double> last_value_;
  Monotonic spoke_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  double to_;                         // from here on: under the mutex
  Order order_ = Order::none;         // pause, stop, complete
  ControlHeader* control_ = nullptr;  // once there is a team
  Notice early_ = Notice::none;       // what came before that
  bool wants_suspend_ = false;
  bool over_ = false;
  std::atomic<bool> was_suspended_{false};
  std::thread thread_;
};

}  // namespace muster
