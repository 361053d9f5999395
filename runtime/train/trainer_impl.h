/// Trainer::Impl: what a trainer consists of. Its functions lie in trainer_setup.cc (made from
/// settings), trainer_step.cc (one step), trainer_gpu.cc (the same on a GPU), trainer_reports.cc
/// (epochs, evaluation, what is told) and trainer.cc (the loop, and what callers see).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "runtime/data/loader.h"
#include "runtime/model/loss.h"
#include "runtime/train/arena.h"
#include "runtime/train/evaluator.h"
#include "runtime/train/gradient_pool.h"
#include "runtime/train/health.h"
#include "runtime/train/plan.h"
#include "runtime/train/step_runner.h"
#include "runtime/train/straggler.h"
#include "runtime/train/trace.h"
#include "runtime/train/train_state.h"
#include "runtime/train/trainer.h"

namespace muster {

/// Sums of synchronised batch normalisation, over all ranks.
class WorldReducer final : public ChannelReducer {
 public:
  explicit WorldReducer(Communicator& world) : world_(world) {}
  void sum(double* values, std::size_t count) override {
    world_.all_reduce(buffer_of(values, count), ReduceOp::sum).wait();
  }

 private:
  Communicator& world_;
};

/// Where the time of the steps since the last report went.
struct Shares {
  std::int64_t since_ns = monotonic_ns();
  std::int64_t data_ns = 0;
  std::int64_t compute_ns = 0;
  std::int64_t exchange_ns = 0;
  std::uint64_t samples = 0;
};

struct Trainer::Impl {
  Impl(const JobSettings& job_settings, const TrainerParts& trainer_parts,
       TrainObserver& train_observer);

  TrainEnd run();
  double train_step();
  void build_for_cpu();
  void build_for_gpu();
  void build_evaluator();
  void check_monitor(const std::vector<std::string>& metrics) const;
  double gpu_step();
  std::uint64_t room() const;
  double settle_gpu(const std::vector<GpuStep::Finished>& finished);
  void settle_rest();
  bool save_is_due();
  void settle(const StepOutcome& outcome, const HostBatch& batch);
  void heed(const StepOutcome& outcome, std::uint64_t step);
  void say_skipped();
  void say_findings();
  bool stop_is_noticed();
  void advance_buffers(SampleRange whole);
  void keep_own_buffers();
  void put_back_own_buffers();
  StepNote note() const;
  bool epoch_is_due() const;
  void close_epoch();
  void evaluate(TrainReport& report);
  void judge(TrainReport& report);
  TrainReport new_report();
  Verdict tell(const TrainReport& report);
  void report_between_epochs();
  void maybe_show_progress();
  void enter(Phase phase);
  void show_step();
  void begin_trace();
  void write_trace();
  void end_trace();
  bool is_first() const { return parts.ranks.world.rank() == 0; }
  Range own_range() const;
  std::span<float> average() { return arena->state(rule.slot_names().size() - 1); }
  void start_average();
  void bring_together(std::span<float> flat);

  JobSettings job;
  TrainerParts parts;
  TrainObserver& observer;
  RunLength length;
  std::uint64_t until;  // steps that run() goes to
  OptimizerRule rule;
  ScheduleRule schedule;
  Monitor monitor;
  Loss loss;
  std::unique_ptr<NodeGroup> alone;  // exchange = bucketed: nobody shares the arena
  std::unique_ptr<Communicator> alone_across;
  std::unique_ptr<Arena> arena;
  std::unique_ptr<Exchange> exchange;
  WorldReducer reducer;
  std::unique_ptr<Health> health;  // where there are rules
  std::unique_ptr<StepRunner> runner;
  std::unique_ptr<Loader> loader;
  std::unique_ptr<Evaluator> evaluator;
  std::unique_ptr<GpuStep> gpu;                // instead of arena, exchange, runner and loader
  std::vector<double>* losses_seen = nullptr;  // of steps on a GPU, while somebody counts them
  bool wants_save = false;                     // on a GPU: between the steps of a block
  bool is_boundary = true;
  std::optional<std::pair<std::uint64_t, std::uint64_t>> profile;  // first and last, from 1
  std::unique_ptr<Trace> trace;
  Straggler straggler;
  TrainState state;
  StateTree tree;
  CheckpointInfo agreed_on;  // what a checkpoint must fit
  Shares shares;
  std::optional<double> score;  // of the parameters as they are
  Verdict verdict = Verdict::go_on;
  bool stop_agreed = false;
  bool is_ailing = false;  // a rule spoke, and debug.action = stop
  bool checkpoint_agreed = false;
  std::uint32_t hints_seen = 0;
  std::int64_t shown_ns = 0;
  std::int64_t step_ns = 0;
  bool is_bucketed = false;
  std::vector<at::Tensor> own_buffers;  // before the step, of a model that writes them itself
  std::uint64_t skipped = 0;            // steps of this epoch, since this start
  float fallen_scale = 0;               // of fp16, where a step of this epoch was left out for it
};

}  // namespace muster
