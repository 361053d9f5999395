// SPDX-License-Identifier: Apache-2.0
#include <ATen/Context.h>
#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <latch>
#include <thread>

#include "benchmarks/gpu/gpu_bench.h"
#include "benchmarks/gpu/twin.h"
#include "runtime/base/error.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "runtime/train/gpu_arena.h"

namespace muster::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.at(values.size() / 2);
}

std::uint64_t steps_of(const GpuBench& bench) {
  if (bench.steps > 0) {
    return bench.steps;
  }
  if (bench.small) {
    return bench.model == "resnet50" ? 1 : 8;
  }
  return bench.model == "gpt" ? 10 : bench.model == "resnet50" ? 15 : 4000;
}

/// Enough for graphs, for torch's choices of algorithm, and for the pace to be known. In the thread
/// that is timed: torch's choices are its own.
std::vector<double> warm_up(Session& session, const GpuBench& bench) {
  const bool is_quick = bench.model == "mlp" || bench.model == "cnn";
  return session.trainer().run_steps(bench.small ? 4 : is_quick ? 400 : 12);
}

/// Steps that are skipped, since a loss is no number, would be quick.
bool all_finite(const std::vector<double>& losses) {
  return std::ranges::all_of(losses, [](double loss) { return std::isfinite(loss); });
}

std::uint64_t units_a_sample(const GpuBench& bench, const JobSettings& job) {
  return bench.model == "gpt" ? static_cast<std::uint64_t>(job.data.context) : 1;
}

/// Keeps a checkpoint every so many steps.
class Saving final : public StateKeeper {
 public:
  Saving(const std::string& directory, std::uint64_t every)
      : every_(every),
        engine_({.directory = Path(directory) / "checkpoints", .interval = {}, .keep = 1}, *alone_,
                posix_file_system(), clock_) {}
  void attach(Trainer& trainer) {
    if (trainer_ != nullptr) {
      return;
    }
    trainer_ = &trainer;
    engine_.set_mover(trainer.mover());
    engine_.prepare(trainer.state());
  }
  bool due(std::uint64_t step) override {
    return trainer_ != nullptr && !rests && step % every_ == 0;
  }
  void save(const StateTree& tree, std::uint64_t /*step*/, std::optional<double> score) override {
    auto info = trainer_->checkpoint_info();
    info.score = score;
    saved += engine_.save(tree, std::move(info)) ? 1 : 0;
  }
  void wait() { engine_.wait(); }
  std::uint64_t saved = 0;
  bool rests = false;

 private:
  std::uint64_t every_;
  SystemClock clock_;
  std::unique_ptr<Communicator> alone_ = solo_communicator();
  CheckpointEngine engine_;
  Trainer* trainer_ = nullptr;
};

}  // namespace

int time_step(Gpus& gpus, const GpuBench& bench) {
  at::globalContext().setBenchmarkCuDNN(true);  // as a rank does
  const JobSettings job = job_of(bench);
  Session session(job, gpus.lane(0));
  std::vector<double> losses = warm_up(session, bench);
  const double first = losses.at(0);
  bool learns = all_finite(losses);
  std::this_thread::sleep_until(  // several processes begin together
      std::chrono::system_clock::time_point(std::chrono::seconds(bench.start_at)));
  const std::chrono::duration<double> late =
      std::chrono::system_clock::now().time_since_epoch() - std::chrono::seconds(bench.start_at);
  const std::uint64_t steps = steps_of(bench);
  std::vector<double> times;
  for (int block = 0; block < 5; ++block) {
    times.push_back(session.time_steps(steps, &losses) / static_cast<double>(steps));
    learns = learns && all_finite(losses);
  }
  const double step = median(times);
  const auto samples = static_cast<double>(job.train.batch_size);
  fmt::print(
      "{{\"part\": \"step\", \"who\": \"muster\", \"model\": \"{}\", \"batch\": {}, "
      "\"step_us\": {:.2f}, \"fastest_us\": {:.2f}, \"slowest_us\": {:.2f}, "
      "\"per_second\": {:.1f}, \"first_loss\": {}, \"last_loss\": {}, \"ok\": {}, "
      "\"late_s\": {:.3f}, \"mode\": \"{}\", \"memory\": {}, \"card\": \"{}\"}}\n",
      bench.model, job.train.batch_size, step * 1e6, *std::ranges::min_element(times) * 1e6,
      *std::ranges::max_element(times) * 1e6,
      samples * static_cast<double>(units_a_sample(bench, job)) / step, number(first),
      number(losses.back()), learns, bench.start_at > 0 ? late.count() : 0,
      session.trainer().gpu_mode(), session.trainer().memory_bytes(), session.gpu().name());
  return learns ? 0 : 1;
}

/// The update alone, against a copy inside the GPU counted in bytes read and written.
int time_adamw(Gpus& gpus, const GpuBench& bench) {
  const auto gpu = gpus.lane(0);
  const auto scope = gpu->enter();
  const std::size_t count = bench.small ? 1 << 16 : 124475904;
  constexpr std::size_t chunk = 8192;
  std::vector<Chunk> chunks;
  for (std::size_t at = 0; at < count; at += chunk) {
    chunks.push_back({.at = at,
                      .state_at = at,
                      .count = static_cast<std::uint32_t>(std::min(chunk, count - at))});
  }
  const auto memory = gpu->allocate(4 * count * sizeof(float));
  const auto table = gpu->allocate(chunks.size() * sizeof(Chunk));
  const auto state = gpu->allocate(sizeof(StepState));
  const StepState scalars{.factor = 1, .rate = 1e-4F, .first_correction = 2};
  gpu->copy(table.get(), chunks.data(), chunks.size() * sizeof(Chunk), Gpu::Queue::compute);
  gpu->copy(state.get(), &scalars, sizeof scalars, Gpu::Queue::compute);
  gpu->synchronise();
  auto* flat = reinterpret_cast<float*>(memory.get());
  const at::Tensor all = tensor_on(*gpu, memory, memory.get(),
                                   {static_cast<std::int64_t>(4 * count)}, {1}, DType::float32);
  all.uniform_(1e-4, 1e-2);  // as real ones: zeros may be quicker
  const auto time = [&](auto&& body) {
    std::vector<double> times;
    for (int block = 0; block < 9; ++block) {
      constexpr int repeats = 10;
      gpu->synchronise();
      const auto start = Clock::now();
      for (int i = 0; i < repeats; ++i) {
        body();
      }
      gpu->synchronise();
      times.push_back(seconds_since(start) / repeats);
    }
    return median(times);
  };
  const double update = time([&] {
    gpu->run(UpdateJob{.kind = UpdateJob::Kind::adamw,
                       .state = reinterpret_cast<const StepState*>(state.get()),
                       .chunks = reinterpret_cast<const Chunk*>(table.get()),
                       .chunk_count = chunks.size(),
                       .gradients = flat,
                       .parameters = flat + count,
                       .slots = {flat + 2 * count, flat + 3 * count},
                       .decay = 0.1F});
  });
  const double copy = time(
      [&] { gpu->copy(flat, flat + 2 * count, 2 * count * sizeof(float), Gpu::Queue::compute); });
  const double rate = 28.0 * static_cast<double>(count) / update;
  const double bound = 16.0 * static_cast<double>(count) / copy;
  fmt::print(
      "{{\"part\": \"adamw\", \"parameters\": {}, \"ms\": {:.4f}, \"gb_s\": {:.1f}, "
      "\"copy_gb_s\": {:.1f}, \"share\": {:.4f}}}\n",
      count, update * 1e3, rate * 1e-9, bound * 1e-9, rate / bound);
  return 0;
}

/// Trials as threads of this process, against the same steps one trial after the other.
int time_packed(Gpus& gpus, const GpuBench& bench) {
  JobSettings job = job_of(bench);
  const std::uint64_t steps = bench.steps > 0        ? bench.steps
                              : bench.small          ? 8
                              : bench.model == "mlp" ? 8000
                                                     : 2000;
  ResidentSets sets;
  const auto data = std::make_shared<DataSets>(open_data(job.data, *solo_node_group()));
  const auto make = [&](int trial) {
    JobSettings own = job;
    own.train.seed = static_cast<std::uint64_t>(trial) + 1;
    own.optimizer.lr = 0.001 * (trial + 1);
    return std::make_unique<Session>(own, gpus.lane(0), SharedSets{data, &sets});
  };
  std::vector<std::unique_ptr<Session>> trials;
  double serial = 0;
  std::barrier together(bench.trials + 1);
  std::vector<std::thread> threads;
  for (int i = 0; i < bench.trials; ++i) {
    trials.push_back(make(i));
    std::latch is_warm(1);
    threads.emplace_back([&, i, own = trials.back().get()] {
      try {
        warm_up(*own, bench);
        if (i == 0) {  // while it is the process's only lane, as a trial after the other would be
          serial = own->time_steps(steps) * bench.trials;
        }
        is_warm.count_down();
        together.arrive_and_wait();
        own->trainer().run_steps(steps);
        together.arrive_and_wait();
      } catch (const std::exception& error) {  // the others wait for this one
        std::fprintf(stderr, "%s\n", muster::report(error).c_str());
        std::_Exit(exit_code_of(error));
      }
    });
    is_warm.wait();
  }
  together.arrive_and_wait();
  const auto start = Clock::now();
  together.arrive_and_wait();
  const double packed = seconds_since(start);
  for (std::thread& thread : threads) {
    thread.join();
  }
  fmt::print(
      "{{\"part\": \"packed\", \"model\": \"{}\", \"trials\": {}, \"steps\": {}, "
      "\"serial_s\": {:.4f}, \"packed_s\": {:.4f}, \"gain\": {:.3f}, \"mode\": \"{}\", "
      "\"last_mode\": \"{}\"}}\n",
      bench.model, bench.trials, steps, serial, packed, serial / packed,
      trials.front()->trainer().gpu_mode(), trials.back()->trainer().gpu_mode());
  return 0;
}

/// Blocks with a checkpoint every 10 steps and without any, in turns.
int time_checkpoints(Gpus& gpus, const GpuBench& bench) {
  GpuBench gpt = bench;
  gpt.model = "gpt";
  const JobSettings job = job_of(gpt);
  Saving saving(bench.directory, 10);
  Session session(job, gpus.lane(0), {}, nullptr, nullptr, {}, &saving);
  warm_up(session, gpt);
  const std::uint64_t steps = bench.small ? 20 : 30;
  std::vector<double> plain;
  std::vector<double> kept;
  for (int i = 0; i < 3; ++i) {
    saving.rests = true;
    plain.push_back(session.time_steps(steps));
    saving.rests = false;
    saving.attach(session.trainer());
    kept.push_back(session.time_steps(steps));
    saving.wait();
  }
  const double share = median(kept) / median(plain) - 1;
  fmt::print(
      "{{\"part\": \"checkpoint\", \"every\": 10, \"steps\": {}, \"plain_s\": {:.4f}, "
      "\"with_s\": {:.4f}, \"cost\": {:.4f}, \"saved\": {}, \"due\": {}, \"bytes\": {}}}\n",
      steps, median(plain), median(kept), share, saving.saved, 3 * steps / 10,
      session.trainer().state().local_bytes());
  return 0;
}

}  // namespace muster::bench
