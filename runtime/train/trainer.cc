// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/trainer.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "runtime/base/error.h"
#include "runtime/data/loader.h"
#include "runtime/model/metrics.h"
#include "runtime/train/evaluator.h"
#include "runtime/train/gradient_pool.h"
#include "runtime/train/health.h"
#include "runtime/train/plan.h"
#include "runtime/train/step_runner.h"
#include "runtime/train/straggler.h"
#include "runtime/train/trace.h"
#include "runtime/train/train_state.h"

namespace muster {
namespace {

constexpr std::size_t strict_alignment = 4096;

// Batch statistics hold a mean and a variance for each channel, as the running buffers do.
std::size_t statistics_floats(Model& model) {
  std::size_t floats = 0;
  for (const NamedTensor& buffer : model.buffers()) {
    floats += buffer.tensor.scalar_type() == at::kFloat
                  ? static_cast<std::size_t>(buffer.tensor.numel())
                  : 0;
  }
  return model.has_batch_norm() ? floats : 0;
}

Loss loss_of(const TrainSettings& train, const DataShape& shape) {
  Loss loss{.kind = loss_kind(train.loss == "bce" ? "binary_cross_entropy" : train.loss, shape),
            .label_smoothing = train.label_smoothing};
  loss.check(shape);
  return loss;
}

// Sums of synchronised batch normalisation, over all ranks.
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

}  // namespace

struct Trainer::Impl {
  Impl(const JobSettings& job_settings, const TrainerParts& trainer_parts,
       TrainObserver& train_observer);

  TrainEnd run();
  double train_step();
  void settle(const StepOutcome& outcome, const HostBatch& batch);
  void heed(const StepOutcome& outcome);
  void say_findings();
  bool stop_is_noticed();
  void advance_buffers(SampleRange whole);
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
  void trace_step(std::uint64_t step);
  bool is_first() const { return parts.ranks.world.rank() == 0; }
  Range own_range() const;
  void point_parameters_at(std::span<float> base);

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
  std::unique_ptr<Health> health;  // on rank 0, where there are rules
  std::unique_ptr<StepRunner> runner;
  std::unique_ptr<Loader> loader;
  std::unique_ptr<Evaluator> evaluator;
  std::optional<std::pair<std::uint64_t, std::uint64_t>> profile;
  std::unique_ptr<Trace> trace;
  Straggler straggler;
  TrainState state;
  StateTree tree;
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
};

Trainer::Impl::Impl(const JobSettings& job_settings, const TrainerParts& trainer_parts,
                    TrainObserver& train_observer)
    : job(job_settings),
      parts(trainer_parts),
      observer(train_observer),
      length(run_length(job, parts.train.rows())),
      until(length.steps),
      rule(optimizer_rule(job.optimizer, job.train)),
      schedule(schedule_rule(job.schedule, job.optimizer.lr, length)),
      monitor(parse_monitor(job.train.monitor)),
      loss(loss_of(job.train, parts.train.shape())),
      reducer(parts.ranks.world),
      profile(profile_steps(job.train)),
      is_bucketed(job.train.exchange == "bucketed") {
  const int world = parts.ranks.world.size();
  check_job(job, parts.model, parts.train, world, parts.ranks.across.size());
  NodeGroup* node = &parts.ranks.node;
  Communicator* across = &parts.ranks.across;
  if (is_bucketed) {
    alone = solo_node_group();
    node = alone.get();
    across = &parts.ranks.world;
  }
  arena = std::make_unique<Arena>(
      parts.model.parameters(), *node, *across,
      Arena::Shape{.parts = is_bucketed ? 1 : static_cast<std::size_t>(world),
                   .alignment = job.train.strict ? strict_alignment : SegmentTable::line,
                   .state_slots = rule.slot_names().size()});
  arena->table().apply(group_rules(job.optimizer, job.model));
  for (std::size_t i = 0; i < arena->tensors().size(); ++i) {
    arena->tensors()[i].set_requires_grad(!arena->table().segments()[i].frozen);
  }
  const ExchangeOptions options{
      .strict_lanes = job.train.strict ? static_cast<std::size_t>(job.train.shards) : 0,
      .on_nan = job.train.on_nan == "skip" ? OnNan::skip : OnNan::stop,
      .bucket_bytes = static_cast<std::size_t>(job.train.bucket_mb * 1048576.0),
      .statistics = statistics_floats(parts.model)};
  exchange = is_bucketed ? make_bucketed_exchange(parts.ranks, *arena, options)
                         : make_fused_exchange(parts.ranks, *arena, options);
  const bool synchronised = job.model.batch_norm == "synchronised";
  if (is_first() && job.debug.rules != "none") {
    health = std::make_unique<Health>(job.debug, parts.model);
  }
  runner = std::make_unique<StepRunner>(
      parts.model, loss, parts.train.shape(), *exchange,
      StepRunner::Options{
          .seed = job.train.seed,
          .accumulate = static_cast<std::uint64_t>(job.train.accumulate),
          .bf16 = job.train.amp == "bf16",
          .seeds_torch = job.model.kind == "torchscript" || job.model.kind.starts_with("plugin:"),
          .synchronise = synchronised && world > 1 ? &reducer : nullptr,
          .on_gradients = health
                              ? [this](std::uint64_t part,
                                       std::uint64_t whole) { health->on_gradients(part, whole); }
                              : std::function<void(std::uint64_t, std::uint64_t)>()});
  loader = std::make_unique<Loader>(
      parts.train,
      Loader::Options{.batch = static_cast<std::uint64_t>(job.train.batch_size),
                      .seed = job.train.seed,
                      .drop_last = job.data.drop_last,
                      .prefetch = job.data.prefetch,
                      .part = [this](SampleRange whole) { return runner->own_part(whole); }});
  if (parts.validation != nullptr && job.train.evaluate_every > 0) {
    const auto words =
        job.train.metric.empty() ? usual_metrics(parts.validation->shape()) : job.train.metric;
    evaluator = std::make_unique<Evaluator>(
        *parts.validation, loss, make_metrics(words, parts.validation->shape()),
        std::min<std::uint64_t>(256, static_cast<std::uint64_t>(job.train.batch_size)),
        job.train.amp == "bf16");
  }
  state.add_to(tree);
  add_tensors(tree, *arena, own_range(), rule, parts.model, is_bucketed);
}

Range Trainer::Impl::own_range() const {
  if (is_bucketed) {
    return {0, arena->table().capacity()};
  }
  const auto nodes = static_cast<std::size_t>(parts.ranks.across.size());
  return arena->table().shard(static_cast<std::size_t>(parts.ranks.node.rank()) * nodes +
                              static_cast<std::size_t>(parts.ranks.across.rank()));
}

TrainEnd Trainer::Impl::run() {
  std::optional<GradientPool::Entered> entered;
  if (exchange->pool() != nullptr) {
    entered.emplace(*exchange->pool());
  }
  loader->seek({state.step / length.steps_per_epoch, state.step % length.steps_per_epoch});
  shares = {};
  verdict = Verdict::go_on;
  for (;;) {
    if (epoch_is_due()) {
      close_epoch();
    }
    if (state.ended || state.step >= until) {
      return verdict == Verdict::pause ? TrainEnd::paused : TrainEnd::finished;
    }
    if (verdict != Verdict::go_on) {
      return verdict == Verdict::pause ? TrainEnd::paused : TrainEnd::stopped;
    }
    train_step();
    if (stop_agreed) {
      return stop_is_noticed() ? TrainEnd::noticed : TrainEnd::stopped;
    }
    report_between_epochs();
    if (parts.keeper != nullptr && (checkpoint_agreed || parts.keeper->due(state.step))) {
      enter(Phase::checkpoint);
      if (epoch_is_due()) {
        close_epoch();  // so that what is kept of an epoch's end has its score
      }
      parts.keeper->save(tree, state.step, score);
    }
  }
}

double Trainer::Impl::train_step() {
  const std::int64_t start = monotonic_ns();
  enter(Phase::data);
  const HostBatch& batch = loader->next();
  const std::int64_t fetched = monotonic_ns();
  enter(Phase::compute);
  trace_step(state.step);
  if (health) {
    health->begin(state.step);
  }
  runner->run(batch, state.step);
  const std::int64_t computed = monotonic_ns();
  enter(Phase::exchange);
  const Update update(rule, rate_at(schedule, state.step), state.updates + 1);
  StepNote own = note();
  own.busy_ns = computed - start;
  const StepOutcome outcome = exchange->finish(own, update);
  const std::int64_t done = monotonic_ns();
  if (trace) {
    trace->phase("data", start, fetched, state.step);
    trace->phase("compute", fetched, computed, state.step);
    trace->phase("exchange", computed, done, state.step);
  }
  shares.data_ns += fetched - start;
  shares.compute_ns += computed - fetched;
  shares.exchange_ns += done - computed;
  step_ns = step_ns == 0 ? done - start : step_ns + (done - start - step_ns) / 8;
  settle(outcome, batch);
  show_step();
  return outcome.loss;
}

StepNote Trainer::Impl::note() const {
  StepNote own{.wants_stop = is_ailing};
  if (parts.control != nullptr && parts.ranks.node.rank() == 0) {
    own.wants_stop =
        is_ailing || parts.control->notice.load(std::memory_order_acquire) != Notice::none ||
        parts.control->stop_after_step.load(std::memory_order_acquire) <= state.step + 1;
    own.wants_checkpoint =
        parts.control->checkpoint_hint.load(std::memory_order_relaxed) != hints_seen;
  }
  return own;
}

void Trainer::Impl::settle(const StepOutcome& outcome, const HostBatch& batch) {
  if (outcome.not_finite || outcome.skipped) {
    heed(outcome);
  } else {
    ++state.updates;
    const auto weight = static_cast<double>(batch.whole.count);
    state.loss_sum += outcome.loss * weight;
    state.loss_samples += batch.whole.count;
    state.report_loss_sum += outcome.loss * weight;
    state.report_samples += batch.whole.count;
    if (parts.model.has_batch_norm()) {
      advance_buffers(batch.whole);
    }
  }
  if (health) {
    health->end(outcome.loss);
    say_findings();
  }
  ++state.step;
  shares.samples += batch.whole.count;
  score.reset();
  stop_agreed = outcome.stop;
  checkpoint_agreed = outcome.checkpoint;
  if (outcome.checkpoint && parts.control != nullptr) {
    hints_seen = parts.control->checkpoint_hint.load(std::memory_order_relaxed);
  }
  if (outcome.stop && parts.control != nullptr && parts.ranks.node.rank() == 0) {
    parts.control->stop_after_step.store(state.step, std::memory_order_release);
  }
  if (auto sentence = straggler.on_step(state.step, outcome.busy_ns); sentence && is_first()) {
    observer.on_remark(*sentence);
  }
}

// What the rules found is told, and with debug.action = stop the next step is the last.
void Trainer::Impl::say_findings() {
  for (const std::string& text : health->take()) {
    observer.on_remark(text);
    is_ailing = is_ailing || job.debug.action == "stop";
  }
}

// Rank 0 knows whether a rule asked; the others hear it here.
bool Trainer::Impl::stop_is_noticed() {
  std::int32_t by_rule = is_ailing ? 1 : 0;
  parts.ranks.world.broadcast(buffer_of(&by_rule, 1), 0).wait();
  return by_rule == 0;
}

// A loss or gradient that is no number: an error that names it, or a step left out.
void Trainer::Impl::heed(const StepOutcome& outcome) {
  const std::string where = outcome.not_finite ? outcome.not_finite->where : "a gradient";
  std::string what =
      fmt::format("step {}: {}{} is not finite (NaN or infinity)", state.step + 1,
                  where == "the loss" || where == "a gradient" ? "" : "the gradient of ", where);
  if (outcome.not_finite && outcome.not_finite->rank >= 0) {
    what += fmt::format(" on rank {}", outcome.not_finite->rank);
  }
  if (job.train.on_nan == "skip") {
    if (is_first()) {
      observer.on_remark(what + "; the step is left out (train.on_nan = skip)");
    }
    return;
  }
  throw Error(
      Fault::bad_input,
      what +
          "; lower optimizer.lr, set optimizer.clip, look at the data, or set train.on_nan = skip");
}

void Trainer::Impl::advance_buffers(SampleRange whole) {
  std::vector<std::uint64_t> samples(exchange->lanes());
  for (std::size_t lane = 0; lane < samples.size(); ++lane) {
    samples[lane] = runner->lane_part(whole, lane).count;
  }
  parts.model.advance_statistics(exchange->statistics(samples));
}

bool Trainer::Impl::epoch_is_due() const {
  const bool at_end = state.step % length.steps_per_epoch == 0 || state.step >= until;
  return state.step > 0 && at_end && state.closed_step != state.step;
}

void Trainer::Impl::close_epoch() {
  TrainReport report = new_report();
  report.ends_epoch = true;
  state.last_train_loss =
      state.loss_sum / static_cast<double>(std::max<std::uint64_t>(1, state.loss_samples));
  report.values = {{"train_loss", state.last_train_loss},
                   {"lr", rate_at(schedule, state.step - 1)}};
  const std::uint64_t epoch = (state.step + length.steps_per_epoch - 1) / length.steps_per_epoch;
  const bool is_last = state.step >= until;
  if (evaluator && (is_last || epoch % static_cast<std::uint64_t>(job.train.evaluate_every) == 0)) {
    evaluate(report);
  }
  judge(report);
  state.loss_sum = 0;
  state.loss_samples = 0;
  state.report_loss_sum = 0;
  state.report_samples = 0;
  state.closed_step = state.step;
  verdict = tell(report);
  shares = {};
}

void Trainer::Impl::evaluate(TrainReport& report) {
  enter(Phase::evaluate);
  const auto measure = [&] {
    for (auto& [name, value] : evaluator->run(parts.model, parts.ranks.world)) {
      report.values.emplace_back("val_" + name, value);
      if (health && name == "loss") {
        health->on_evaluation(state.step, state.last_train_loss, value);
        say_findings();
      }
    }
  };
  if (rule.ema > 0) {
    point_parameters_at(arena->state(rule.slot_names().size() - 1));
    measure();
    point_parameters_at(arena->parameters());
  } else {
    measure();
  }
}

void Trainer::Impl::judge(TrainReport& report) {
  std::string wanted = monitor.metric;
  if (job.train.monitor == "auto" && !evaluator) {
    wanted = "train_loss";
  }
  const auto found =
      std::ranges::find_if(report.values, [&](const auto& value) { return value.first == wanted; });
  if (found == report.values.end()) {
    if (evaluator && report.values.size() > 2) {
      throw Error(Fault::bad_input,
                  "train.monitor: nothing here is called '" + wanted + "'; add it to train.metric");
    }
    return;
  }
  score = monitor.higher_is_better ? found->second : -found->second;
  if (monitor.improves(found->second, state.best, job.train.min_delta)) {
    state.best = found->second;
    state.best_step = state.step;
    state.without_improvement = 0;
    report.is_best = true;
    return;
  }
  ++state.without_improvement;
  if (job.train.patience &&
      state.without_improvement >= static_cast<std::uint64_t>(*job.train.patience)) {
    state.ended = true;
    if (is_first()) {
      observer.on_remark(
          fmt::format("{} has not improved for {} evaluations; the best was {:.6g} at step {}",
                      wanted, state.without_improvement, state.best, state.best_step));
    }
  }
}

TrainReport Trainer::Impl::new_report() {
  TrainReport report;
  report.step = state.step;
  report.steps = until;
  report.epoch = static_cast<double>(state.step) / static_cast<double>(length.steps_per_epoch);
  report.epochs = (until + length.steps_per_epoch - 1) / length.steps_per_epoch;
  const auto elapsed =
      static_cast<double>(std::max<std::int64_t>(1, monotonic_ns() - shares.since_ns));
  report.samples_per_second = static_cast<double>(shares.samples) / (elapsed * 1e-9);
  report.data_share = static_cast<double>(shares.data_ns) / elapsed;
  report.compute_share = static_cast<double>(shares.compute_ns) / elapsed;
  report.exchange_share = static_cast<double>(shares.exchange_ns) / elapsed;
  return report;
}

Verdict Trainer::Impl::tell(const TrainReport& report) {
  auto answer = static_cast<std::int32_t>(observer.on_report(report));
  parts.ranks.world.broadcast(buffer_of(&answer, 1), 0).wait();
  return static_cast<Verdict>(answer);
}

void Trainer::Impl::report_between_epochs() {
  maybe_show_progress();
  const auto every = static_cast<std::uint64_t>(job.train.report_every);
  if (every == 0 || state.step % every != 0 || epoch_is_due()) {
    return;
  }
  TrainReport report = new_report();
  report.values = {
      {"train_loss", state.report_loss_sum /
                         static_cast<double>(std::max<std::uint64_t>(1, state.report_samples))},
      {"lr", rate_at(schedule, state.step - 1)}};
  state.report_loss_sum = 0;
  state.report_samples = 0;
  verdict = tell(report);
}

void Trainer::Impl::maybe_show_progress() {
  constexpr std::int64_t second = 1'000'000'000;
  const std::int64_t now = monotonic_ns();
  if (!is_first() || now - shown_ns < second) {
    return;
  }
  shown_ns = now;
  TrainReport report = new_report();
  report.values = {{"train_loss", state.loss_sum / static_cast<double>(std::max<std::uint64_t>(
                                                       1, state.loss_samples))}};
  observer.on_progress(report);
}

void Trainer::Impl::enter(Phase phase) {
  if (parts.slot != nullptr) {
    parts.slot->phase.store(phase, std::memory_order_relaxed);
    parts.slot->phase_since_ns.store(monotonic_ns(), std::memory_order_relaxed);
  }
}

void Trainer::Impl::show_step() {
  if (parts.slot != nullptr) {
    parts.slot->step.store(state.step, std::memory_order_relaxed);
    parts.slot->step_ns.store(step_ns, std::memory_order_relaxed);
  }
}

void Trainer::Impl::trace_step(std::uint64_t step) {
  if (!profile || parts.directory.empty()) {
    return;
  }
  if (!trace && step >= profile->first && step <= profile->second) {
    trace = std::make_unique<Trace>(parts.ranks.world.rank());
  }
  if (trace && step > profile->second) {
    posix_file_system().make_directory(parts.directory / "profile");
    const Path path =
        parts.directory / "profile" / fmt::format("trace-rank-{}.json", parts.ranks.world.rank());
    write_file_atomically(path, trace->text());
    trace.reset();
    profile.reset();
    if (is_first()) {
      observer.on_remark("the trace is in " + path.string() +
                         " (open it in a browser's trace viewer, or ui.perfetto.dev)");
    }
  }
}

void Trainer::Impl::point_parameters_at(std::span<float> base) {
  arena->point_at(base);
}

Trainer::Trainer(const JobSettings& job, const TrainerParts& parts, TrainObserver& observer)
    : impl_(std::make_unique<Impl>(job, parts, observer)) {}
Trainer::~Trainer() = default;

TrainEnd Trainer::run() {
  return impl_->run();
}

void Trainer::extend_to_epochs(std::uint64_t epochs) {
  impl_->until = epochs * impl_->length.steps_per_epoch;
}

StateTree& Trainer::state() {
  return impl_->tree;
}

void Trainer::restored() {
  Arena& arena = *impl_->arena;
  if (!impl_->is_bucketed && impl_->parts.ranks.across.size() > 1) {
    const auto nodes = static_cast<std::size_t>(impl_->parts.ranks.across.size());
    const Range own = impl_->own_range();
    const std::size_t first =
        static_cast<std::size_t>(impl_->parts.ranks.node.rank()) * nodes * own.count();
    auto parameters = arena.parameters();
    impl_->parts.ranks.across
        .all_gather(buffer_of(parameters.data() + own.begin, own.count()),
                    buffer_of(parameters.data() + first, own.count() * nodes))
        .wait();
  }
  impl_->parts.ranks.node.barrier();
}

CheckpointInfo Trainer::checkpoint_info() const {
  const JobSettings& job = impl_->job;
  CheckpointInfo info;
  info.step = static_cast<std::int64_t>(impl_->state.step);
  info.score = impl_->score;
  info.settings = {{"model", impl_->parts.model.fingerprint()},
                   {"data", impl_->parts.train.fingerprint()},
                   {"optimizer.kind", job.optimizer.kind},
                   {"train.batch_size", std::to_string(job.train.batch_size)},
                   {"train.seed", std::to_string(job.train.seed)},
                   {"train.strict", job.train.strict ? std::to_string(job.train.shards) : "false"}};
  info.environment = {{"ranks", std::to_string(impl_->parts.ranks.world.size())},
                      {"threads", std::to_string(at::get_num_threads())},
                      {"libtorch", TORCH_VERSION}};
  return info;
}

std::uint64_t Trainer::step() const {
  return impl_->state.step;
}
double Trainer::best() const {
  return impl_->state.best;
}
std::uint64_t Trainer::steps() const {
  return impl_->until;
}
bool Trainer::is_finished() const {
  return impl_->state.ended || impl_->state.step >= impl_->until;
}

void Trainer::with_final_parameters(const std::function<void()>& body) {
  if (impl_->rule.ema == 0) {
    body();
    return;
  }
  impl_->point_parameters_at(impl_->arena->state(impl_->rule.slot_names().size() - 1));
  body();
  impl_->point_parameters_at(impl_->arena->parameters());
}

std::vector<double> Trainer::run_steps(std::uint64_t count) {
  std::optional<GradientPool::Entered> entered;
  if (impl_->exchange->pool() != nullptr) {
    entered.emplace(*impl_->exchange->pool());
  }
  impl_->loader->seek({impl_->state.step / impl_->length.steps_per_epoch,
                       impl_->state.step % impl_->length.steps_per_epoch});
  std::vector<double> losses;
  for (std::uint64_t i = 0; i < count; ++i) {
    losses.push_back(impl_->train_step());
  }
  return losses;
}

std::uint64_t Trainer::memory_bytes() const {
  const std::uint64_t flat =
      impl_->arena->table().capacity() * sizeof(float) * (1 + impl_->arena->state_slots());
  return flat + (impl_->exchange->pool() != nullptr ? impl_->exchange->pool()->private_bytes() : 0);
}

}  // namespace muster
