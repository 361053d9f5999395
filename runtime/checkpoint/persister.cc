// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/persister.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/thread_name.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/parts.h"

namespace muster {
namespace {

/// What `body` throws, as a text; empty when it does not.
std::string problem_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& error) {
    return report(error);
  }
  return {};
}

}  // namespace

Persister::Persister(const CheckpointStore& store, Clock& clock, PersistOptions options)
    : store_(store),
      clock_(clock),
      options_(options),
      thread_([this](const std::stop_token& stop) { work(stop); }) {}

Persister::~Persister() = default;

void Persister::set_plan(const std::shared_ptr<const Plan>& plan) {
  slots_ = {};  // the old memory first
  plan_ = plan;
  for (auto& slot : slots_) {
    slot = std::make_unique<Snapshot>(plan);
  }
}

void Persister::start_from_rate(double bytes_per_second) {
  const std::lock_guard lock(mutex_);
  rates_ = {bytes_per_second};
}

void Persister::will_remove(std::vector<Path> skipped) {
  const std::lock_guard lock(mutex_);
  skipped_ = std::move(skipped);
}

Snapshot* Persister::free_slot() {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!busy_[i]) {
      return slots_[i].get();
    }
  }
  return nullptr;
}

void Persister::submit(SaveJob job) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    busy_[i] = busy_[i] || slots_[i].get() == job.snapshot;
  }
  submitted_ = job.sequence;
  bytes_under_way_ += plan_->image_bytes();
  queue_.push_back(std::move(job));
  changed_.notify_all();
}

void Persister::release(Snapshot* snapshot) {
  if (options_.poison) {
    std::ranges::fill(snapshot->image(), std::byte{0xa5});
  }
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    busy_[i] = busy_[i] && slots_[i].get() != snapshot;
  }
}

void Persister::wait_own() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return written_ == submitted_; });
}

void Persister::wait_settled() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return settled_ == submitted_; });
}

void Persister::abandon_up_to(std::int64_t sequence) {
  const std::lock_guard lock(mutex_);
  abandoned_ = std::max(abandoned_, sequence);
}

std::int64_t Persister::last_own_failure() const {
  const std::lock_guard lock(mutex_);
  return own_failure_;
}

Persister::State Persister::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

void Persister::set_last_committed(std::int64_t step) {
  const std::lock_guard lock(mutex_);
  state_.last_committed = step;
}

double Persister::seconds_to_persist(std::uint64_t bytes) const {
  constexpr double fixed_seconds = 0.02;  // the few small writes and fsyncs of a commit
  const std::lock_guard lock(mutex_);
  const double slowest = rates_.empty() ? 1e8 : *std::ranges::min_element(rates_);
  return fixed_seconds + static_cast<double>(bytes) / slowest;
}

double Persister::seconds_under_way() const {
  std::uint64_t bytes = 0;
  {
    const std::lock_guard lock(mutex_);
    bytes = bytes_under_way_;
  }
  return bytes == 0 ? 0 : seconds_to_persist(bytes);
}

void Persister::work(const std::stop_token& stop) {
  name_thread("checkpoints");
  for (;;) {
    SaveJob job;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [this] { return !queue_.empty(); }) || stop.stop_requested()) {
        return;
      }
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    settle(job, stop);
  }
}

/// One job from slot to commit. Whatever goes wrong is told, counted and leaves the older
/// checkpoints as they were.
void Persister::settle(SaveJob& job, const std::stop_token& stop) {
  const auto begun = clock_.now();
  const CheckpointInfo info = job.snapshot->info();
  std::vector<Block> blocks;
  std::string problem = problem_of([&] { blocks = write_own(job, stop); });
  release(job.snapshot);
  Path path;
  if (plan_->rank() != 0) {
    const std::string post =
        problem_of([&] { Parts(job.temporary, *plan_, store_.files()).post(blocks, problem); });
    problem = problem.empty() ? post : problem;
  }
  mark_written(job, problem);
  if (plan_->rank() == 0 && problem.empty()) {
    problem = problem_of([&] { path = collect_and_commit(job, info, std::move(blocks), stop); });
  }
  note(job, info.step, problem, begun, path);
  if (plan_->rank() == 0) {
    clean_up(job, problem.empty());
  }
  mark_settled(job);
}

void Persister::mark_written(const SaveJob& job, const std::string& problem) {
  const std::lock_guard lock(mutex_);
  own_failure_ = problem.empty() ? own_failure_ : job.sequence;
  written_ = job.sequence;
  changed_.notify_all();
}

void Persister::mark_settled(const SaveJob& job) {
  const std::lock_guard lock(mutex_);
  bytes_under_way_ -= plan_->image_bytes();
  settled_ = job.sequence;
  changed_.notify_all();
}

std::vector<Block> Persister::write_own(SaveJob& job, const std::stop_token& stop) {
  const Path path = job.temporary / state_file;
  FileSystem& files = store_.files();
  // What it holds is free before the slot is: the next save takes both.
  if (const auto there = std::exchange(job.there, {})) {
    there();
  }
  if (plan_->ranks() == 1) {
    begin_file(job.temporary, state_file, plan_->layout().file_bytes, true, files);
  } else if (plan_->rank() == 0) {
    files.open(path, OpenMode::read_write)->allocate(plan_->layout().file_bytes);
  }
  return write_image(path, plan_->own_runs(), job.snapshot->image(), options_.write, files, stop);
}

Path Persister::collect_and_commit(const SaveJob& job, const CheckpointInfo& info,
                                   std::vector<Block> blocks, const std::stop_token& stop) {
  if (plan_->ranks() > 1) {
    const Parts parts(job.temporary, *plan_, store_.files());
    const auto others = parts.gather([&] {
      const std::lock_guard lock(mutex_);
      return stop.stop_requested() || abandoned_ >= job.sequence;
    });
    blocks.insert(blocks.end(), others.begin(), others.end());
    parts.remove();
  }
  Manifest manifest{.created = iso_time(clock_.wall()), .ranks = plan_->ranks()};
  manifest.files.push_back(
      manifest_file(std::string(state_file), plan_->layout(), info, std::move(blocks)));
  return commit_directory(store_, job.temporary, manifest);
}

void Persister::note(const SaveJob& job, std::int64_t step, const std::string& problem,
                     Monotonic begun, const Path& path) {
  constexpr std::size_t remembered = 4;
  const std::chrono::duration<double> took = clock_.now() - begun;
  if (!problem.empty()) {
    log::warning(
        fmt::format("the checkpoint of step {} was not saved; training goes on, and the older ones "
                    "are untouched: {}",
                    step, problem));
  }
  const std::lock_guard lock(mutex_);
  state_.last_problem = problem;
  if (!problem.empty()) {
    ++state_.failed;
    return;
  }
  state_.cost = SaveCost{.stall_seconds = job.stall_seconds, .persist_seconds = took.count()};
  rates_.push_back(static_cast<double>(plan_->image_bytes()) / std::max(took.count(), 1e-6));
  if (rates_.size() > remembered) {
    rates_.pop_front();
  }
  if (plan_->rank() == 0) {
    state_.last_committed = step;
    state_.last_path = path;
    ++state_.committed;
  }
}

/// Old checkpoints after a commit, the temporary after a failure.
void Persister::clean_up(const SaveJob& job, bool is_committed) {
  std::vector<Path> skipped;
  if (is_committed) {
    const std::lock_guard lock(mutex_);
    skipped = std::exchange(skipped_, {});
  }
  const std::string problem = problem_of([&] {
    if (is_committed) {
      store_.retain(options_.keep, options_.keep_best, skipped);
    } else {
      store_.files().remove(job.temporary);
    }
  });
  if (!problem.empty()) {
    log::warning("cleaning up checkpoints: " + problem);
  }
}

}  // namespace muster
