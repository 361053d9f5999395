/// Trainer: trains one model as one rank of a job: the loop, evaluation, the best so far, patience,
/// and what is told to whom. Collective: all ranks make it and call run() and the state calls
/// together. Holds no state of the process, so that several trainers can run as threads side by
/// side, each a group of one. An error on one rank must be met with abort() on its groups.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/state_tree.h"
#include "runtime/comm/control_page.h"
#include "runtime/config/job.h"
#include "runtime/data/dataset.h"
#include "runtime/model/model.h"
#include "runtime/train/exchange.h"
#include "runtime/train/gpu_step.h"

namespace muster {

/// What went on since the last report. On rank 0 complete; the values are equal on all ranks but
/// for times.
struct TrainReport {
  std::uint64_t step = 0;   ///< steps done
  std::uint64_t steps = 0;  ///< of the whole run
  double epoch = 0;
  std::uint64_t epochs = 0;
  bool ends_epoch = false;
  std::vector<std::pair<std::string, double>>
      values;            ///< train_loss, lr, val_loss, val_accuracy ...
  bool is_best = false;  ///< the monitored value has never been better
  double samples_per_second = 0;
  double data_share = 0, compute_share = 0, exchange_share = 0;  ///< of the time, on this rank
};

enum class Verdict { go_on, pause, stop };

/// Who watches a run. Called on the trainer's thread, on every rank, at the same places.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  /// At the end of every epoch and every train.report_every steps. Rank 0's answer holds for all.
  virtual Verdict on_report(const TrainReport& report) = 0;
  /// A sentence for people: a straggler, a rule that fired, a skipped step. Rank 0 only.
  virtual void on_remark(const std::string& text) = 0;
  /// Now and then between steps, for a progress line; cheap when it does nothing. Rank 0 only.
  virtual void on_progress(const TrainReport& report) = 0;
};

/// Who keeps the state. Collective calls, on every rank alike. The default keeps nothing.
class StateKeeper {
 public:
  virtual ~StateKeeper() = default;
  virtual bool due(std::uint64_t /*step*/) { return false; }
  /// Copies and returns; what is not kept is said by the keeper. `score`: greater is better.
  virtual void save(const StateTree& /*tree*/, std::uint64_t /*step*/,
                    std::optional<double> /*score*/) {}
};

enum class TrainEnd {
  finished,  ///< all steps done, or patience ran out
  noticed,   ///< the control page asked to leave; the state stands at a step boundary, unsaved
  paused,    ///< the observer asked for it
  stopped,   ///< the observer asked for it, or a rule with debug.action = stop; unsaved
};

struct TrainerParts {
  Model& model;
  const Dataset& train;
  const Dataset* validation = nullptr;
  RankGroups ranks;
  ControlHeader* control = nullptr;  ///< where notices come from; none for trials
  RankSlot* slot = nullptr;          ///< where this rank's phase and step are shown
  StateKeeper* keeper = nullptr;
  Path directory;  ///< for traces; empty: none
  GpuParts gpu;    ///< gpu.gpu null: on the CPU
};

class Trainer {
 public:
  /// Moves the model's parameters into an arena. Throws bad_input for what cannot be trained so.
  Trainer(const JobSettings& job, const TrainerParts& parts, TrainObserver& observer);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// Goes on from where the state is. May be called again after `paused`.
  TrainEnd run();
  /// Changes how far run() goes (a rung of a sweep); schedules keep the length they were made with.
  void extend_to_epochs(std::uint64_t epochs);

  /// The live state of this rank: snapshot it between calls of run(), or in StateKeeper::save.
  StateTree& state();
  /// Who carries that state: give it to the engine. The host's, but for GPUs.
  Mover& mover();
  /// To be called after the tree was filled from elsewhere: brings the parameters to every machine.
  void restored();
  /// What a checkpoint must agree on to be loaded here, and what it should.
  CheckpointInfo checkpoint_info() const;

  std::uint64_t step() const;
  double best() const;          ///< NaN before the first evaluation
  std::uint64_t steps() const;  ///< of the whole run
  bool is_finished() const;     ///< run() has nothing left to do
  /// Runs `body` with the model's parameters being the ones to use: the moving average where there
  /// is one. Collective.
  void with_final_parameters(const std::function<void()>& body);
  /// Steps on batches of the training set without evaluation or reports: for benchmarks and tests.
  /// The losses of the steps.
  std::vector<double> run_steps(std::uint64_t count);
  /// How steps run on a GPU ("graph of 8 steps"); empty on the CPU.
  std::string gpu_mode() const;
  /// The most that this rank's pools and arena have taken, in bytes.
  std::uint64_t memory_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace muster
