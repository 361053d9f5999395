// SPDX-License-Identifier: Apache-2.0
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "benchmarks/gpu/gpu_bench.h"
#include "runtime/base/error.h"
#include "runtime/base/random.h"
#include "runtime/gpu/admission.h"
#include "runtime/model/model.h"
#include "runtime/train/plan.h"

namespace muster::bench {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<JobSettings> mixed_jobs(const GpuBench& bench) {
  const int trials = bench.small ? 12 : bench.steps > 0 ? static_cast<int>(bench.steps) : 200;
  Random random(3);
  std::vector<JobSettings> jobs;
  for (int i = 0; i < trials; ++i) {
    GpuBench own = bench;
    own.model = i % 3 == 0 ? "cnn" : "mlp";
    own.batch = std::uint64_t{32} << random.below(bench.small ? 2 : 5);
    JobSettings job = job_of(own);
    job.data.rows = bench.small ? 512 : 4096;
    job.model.hidden = std::to_string(64 << random.below(bench.small ? 2 : 6));
    job.model.width = static_cast<int>(16 << random.below(bench.small ? 1 : 3));
    job.train.short_ms = bench.small ? 1e6 : job.train.short_ms;  // slow where no card is
    jobs.push_back(std::move(job));
  }
  return jobs;
}

/// Trials that enter one card as those of a sweep do, some at once.
class Packed {
 public:
  Packed(Gpus& gpus, const GpuBench& bench)
      : gpus_(gpus),
        bench_(bench),
        jobs_(mixed_jobs(bench)),
        watching_(gpus.lane(0)),
        free_at_start_(watching_->memory().free),
        admission_(free_at_start_, 0, [this] { return sets_.bytes(); }) {}

  int run() {
    std::vector<std::thread> threads;
    for (int i = 0; i < bench_.trials; ++i) {
      threads.emplace_back([this] { take_trials(); });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    fmt::print(
        "{{\"part\": \"memory\", \"trials\": {}, \"kinds\": {}, \"at_once\": {}, "
        "\"worst_error\": {:.4f}, \"beyond\": {}, \"failed\": {}, \"driver_mb\": {}, "
        "\"reckoned_mb\": {}, \"ok\": {}}}\n",
        done_, kinds_.size(), most_at_once_, worst_, beyond_, failed_, most_used_ >> 20,
        reckoned_ >> 20, worst_ < 0.1 && failed_ == 0);
    return failed_;
  }

 private:
  void take_trials() {
    at::set_num_threads(1);
    while (Clock::now() - start_ < std::chrono::duration<double>(bench_.seconds)) {
      std::size_t next = 0;
      {
        const std::lock_guard lock(mutex_);
        if (next_ == jobs_.size()) {
          return;
        }
        next = next_++;
      }
      run_trial(jobs_[next], next);
    }
  }

  void run_trial(const JobSettings& job, std::size_t number) {
    std::optional<Admission::Lease> lease;
    try {
      const auto data = data_of(job);
      const auto model = make_model(job.model, data->train->shape(), job.train.seed);
      const std::string kind = memory_kind(job, *model);
      lease = admission_.enter(kind, memory_guess(*model));
      const std::optional<std::uint64_t> known = admission_.bytes_of(kind);
      Session session(job, gpus_.lane(0), {data, &sets_});
      session.trainer().run_steps(dry_run_steps);
      const std::uint64_t in_dry_run = session.trainer().memory_bytes();
      lease->measured(in_dry_run);
      session.trainer().run_steps(100);  // by then graphs are of several steps
      judge(kind, known.value_or(in_dry_run), session.trainer().memory_bytes());
    } catch (const std::exception& error) {
      if (lease) {
        lease->ran_out();
      }
      const std::lock_guard lock(mutex_);
      std::fprintf(stderr, "trial %zu: %s\n", number, report(error).c_str());
      ++done_;
      ++failed_;
    }
  }

  /// With the trial still on the card.
  void judge(const std::string& kind, std::uint64_t predicted, std::uint64_t real) {
    const std::lock_guard lock(mutex_);
    const double error = std::abs(static_cast<double>(real) - static_cast<double>(predicted)) /
                         static_cast<double>(real);
    worst_ = std::max(worst_, error);
    beyond_ += error > 0.1 ? 1 : 0;
    ++done_;
    kinds_.insert(kind);
    most_at_once_ = std::max(most_at_once_, admission_.inside());
    const std::uint64_t used = free_at_start_ - std::min(free_at_start_, watching_->memory().free);
    if (used > most_used_) {
      most_used_ = used;
      reckoned_ = admission_.reserved();
    }
  }

  /// One of each model's, as a worker has one of each that its sweep asks for.
  std::shared_ptr<const DataSets> data_of(const JobSettings& job) {
    const std::lock_guard lock(mutex_);
    auto& known = data_[job.model.kind];
    if (!known) {
      known = std::make_shared<DataSets>(open_data(job.data, *solo_node_group()));
    }
    return known;
  }

  Gpus& gpus_;
  const GpuBench& bench_;
  std::vector<JobSettings> jobs_;
  std::unique_ptr<Gpu> watching_;
  std::uint64_t free_at_start_;
  ResidentSets sets_;
  Admission admission_;
  Clock::time_point start_ = Clock::now();
  std::mutex mutex_;  // from here on
  std::map<std::string, std::shared_ptr<const DataSets>> data_;
  std::size_t next_ = 0;
  int done_ = 0;
  int failed_ = 0;
  int beyond_ = 0;
  int most_at_once_ = 0;
  double worst_ = 0;
  std::set<std::string> kinds_;
  std::uint64_t most_used_ = 0;  // by what the driver says
  std::uint64_t reckoned_ = 0;   // for the same moment
};

}  // namespace

/// What trials of a kind are reckoned to take, by the first one's dry run, and what they took in
/// the end; beside it the driver's word on all that were there together.
int predict_memory(Gpus& gpus, const GpuBench& bench) {
  return Packed(gpus, bench).run();
}

}  // namespace muster::bench
