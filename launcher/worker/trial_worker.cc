// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/trial_worker.h"

#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include "launcher/engine/owner_lock.h"
#include "launcher/sweep/group_store.h"
#include "launcher/worker/trial_lane.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/memory_left.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "runtime/comm/node_group.h"
#include "runtime/config/load.h"
#include "runtime/gpu/open_gpus.h"

namespace muster {

struct TrialWorker::Impl {
  Impl(TrialWorkerPlan given, Say tell) : plan(std::move(given)) {
    host.say = [this, tell = std::move(tell)](const WorkerEvent& event) {
      const std::lock_guard lock(saying);
      tell(event);
    };
    host.data = [this](const JobSettings& job, const std::string& key) {
      return data_for(job, key);
    };
    host.trials = plan.sweep / "trials";
    host.group = plan.sweep / "checkpoints";
    host.is_tight = &is_tight;
    host.objective = plan.objective;
    host.commit_seconds = plan.commit_seconds;
    if (plan.open_team) {
      host.open_team = plan.open_team;
      host.is_team = true;
    }
  }

  void open_memory(const std::string& device);

  TrialJob job_of(const std::vector<std::pair<std::string, std::string>>& parameters) const;
  std::shared_ptr<DataSets> data_for(const JobSettings& job, const std::string& key);
  void start(const WorkerOrder& order);
  void suspend();
  void sweep_out();
  void give_up_spare_memory();

  TrialWorkerPlan plan;
  LaneHost host;
  std::unique_ptr<LaneGpus> gpu;
  std::unique_ptr<Admission> admission;
  std::uint64_t memory = 0;  // bytes for its trials
  std::string card;          // that they share; empty: CPUs
  std::atomic<bool> is_tight{false};
  std::mutex saying;
  std::mutex loading;
  std::unique_ptr<NodeGroup> node = solo_node_group();
  std::map<std::string, std::shared_ptr<DataSets>> data;  // by what the search says of [data]
  std::map<std::uint32_t, std::unique_ptr<TrialLane>> lanes;
  std::map<std::uint32_t, std::unique_ptr<Snapshot>> paused;  // promoted without a look at the disk
};

TrialWorker::TrialWorker(TrialWorkerPlan plan, Say say)
    : impl_(std::make_unique<Impl>(std::move(plan), std::move(say))) {
  // What is wrong with the job is found before the first trial.
  const auto job = impl_->job_of({});
  if (!impl_->host.is_team) {  // a team has the machine to itself, and opens its GPUs together
    impl_->open_memory(job.settings.train.device);
  }
  WorkerEvent ready;
  ready.memory = impl_->memory;
  ready.machine = this_host();
  ready.card = impl_->card;
  impl_->host.say(ready);
}

/// What its lanes share: one GPU, since it sees no other (see_only_own_card), or the machine's
/// memory. A guess for the CPU may well be four times too low: activations are not in it.
void TrialWorker::Impl::open_memory(const std::string& device) {
  constexpr double doubt = 8;
  std::string why;
  ask_for_queues();
  if (Gpus* gpus = open_gpus(device, why)) {
    gpu.reset(new LaneGpus{.gpus = gpus, .sets = {}});
    host.gpus = gpu.get();
    const auto own = gpus->lane(0);
    memory = own->memory().free / static_cast<std::uint64_t>(std::max(1, plan.gpu_sharers));
    card = own->name();
    admission =
        std::make_unique<Admission>(memory, 0, [own = gpu.get()] { return own->sets.bytes(); });
    log::info(fmt::format("trials share a GPU ({})", card));
  } else {
    if (plan.needs_gpu && device != "cpu") {
      throw Error(Fault::io, fmt::format("this worker had a GPU and has none now: {}", why));
    }
    if (device == "auto" && has_gpu_driver()) {
      WorkerEvent remark;
      remark.kind = WorkerEvent::Kind::remark;
      remark.reason =
          fmt::format("{} has an NVIDIA driver, but trials run on its CPUs: {}", this_host(), why);
      host.say(remark);
    }
    if (const auto left = memory_left()) {  // of what it is given, libtorch has some by now
      memory = plan.memory > 0 ? std::min(plan.memory, left->bytes) : left->bytes;
      admission = std::make_unique<Admission>(memory, doubt);
    }
  }
  host.admission = admission.get();
}

TrialWorker::~TrialWorker() = default;

TrialJob TrialWorker::Impl::job_of(
    const std::vector<std::pair<std::string, std::string>>& parameters) const {
  TrialJob job;
  Keys keys;
  describe(keys, job.settings);
  Sources sources{.file = plan.job, .environment = {}, .arguments = plan.overrides};
  for (const auto& [key, word] : parameters) {
    sources.arguments.push_back("--" + key + "=" + word);
  }
  if (plan.max_resource > 0) {
    sources.arguments.push_back(fmt::format("--train.epochs={:.0f}", plan.max_resource));
  }
  job.file_text = load(keys, sources).file_text;
  return job;
}

std::shared_ptr<DataSets> TrialWorker::Impl::data_for(const JobSettings& job,
                                                      const std::string& key) {
  const std::lock_guard lock(loading);
  auto& known = data[key];
  if (!known) {
    known = std::make_shared<DataSets>(open_data(job.data, *node));
  }
  if (known->train->random_access() && (!known->validation || known->validation->random_access())) {
    return known;
  }
  return std::make_shared<DataSets>(
      open_data(job.data, *node));  // read in order: each trial its own
}

void TrialWorker::Impl::sweep_out() {
  for (auto entry = lanes.begin(); entry != lanes.end();) {
    if (!entry->second->is_over()) {
      ++entry;
      continue;
    }
    entry->second->join();
    if (auto left = entry->second->take_snapshot()) {
      paused[entry->first] = std::move(left);
    }
    entry = lanes.erase(entry);
  }
  give_up_spare_memory();
}

/// Paused trials are on the disk too.
void TrialWorker::Impl::give_up_spare_memory() {
  constexpr std::uint64_t spare_share = 16;  // of the memory for trials, for paused ones
  std::uint64_t spare = 0;
  for (const auto& [trial, snapshot] : paused) {
    spare += snapshot->image().size();
  }
  while (!paused.empty() && (is_tight || spare > memory / spare_share)) {
    spare -= paused.begin()->second->image().size();
    paused.erase(paused.begin());
  }
  if (is_tight) {
    ::malloc_trim(0);
  }
}

void TrialWorker::Impl::start(const WorkerOrder& order) {
  if (const auto old = lanes.find(order.trial); old != lanes.end()) {
    old->second->join();  // its slot was free before its commit was on the disk
  }
  for (auto& [trial, lane] : lanes) {
    if (host.is_team) {
      lane->join();  // no rank may be in two teams at once
    }
  }
  sweep_out();
  std::unique_ptr<Snapshot> kept;
  if (const auto found = paused.find(order.trial); found != paused.end()) {
    kept = std::move(found->second);
    paused.erase(found);
  }
  try {
    lanes[order.trial] =
        std::make_unique<TrialLane>(host, job_of(order.parameters), order, std::move(kept));
  } catch (const std::exception& error) {
    WorkerEvent failure;
    failure.kind = WorkerEvent::Kind::ended;
    failure.trial = order.trial;
    failure.state = state_after(error);
    failure.reason = report(error);
    host.say(failure);
  }
}

/// Everything that runs, in one commit.
void TrialWorker::Impl::suspend() {
  for (auto& [trial, lane] : lanes) {
    lane->suspend();
  }
  std::vector<std::unique_ptr<Snapshot>> snapshots;
  std::vector<GroupMember> members;
  std::vector<std::uint32_t> suspended;
  for (auto& [trial, lane] : lanes) {
    lane->join();
    if (lane->was_suspended()) {
      suspended.push_back(trial);
      if (auto left = lane->take_snapshot()) {  // else it had not begun, or has saved itself
        snapshots.push_back(std::move(left));
        members.push_back({.name = group_member_name(trial), .snapshot = snapshots.back().get()});
      }
    }
  }
  std::string reason = "saved its state";
  if (!members.empty()) {
    try {
      SystemClock clock;
      commit_group(GroupStore(host.group).fresh(), members, clock);
    } catch (const std::exception& error) {
      reason = "could not be saved: " + report(error);
      log::error(reason);
    }
  }
  lanes.clear();
  for (const auto trial : suspended) {
    WorkerEvent event;
    event.kind = WorkerEvent::Kind::ended;
    event.trial = trial;
    event.state = "preempted";
    event.reason = reason;
    host.say(event);
  }
}

void TrialWorker::obey(const WorkerOrder& order) {
  switch (order.kind) {
    case WorkerOrder::Kind::start:
      impl_->start(order);
      return;
    case WorkerOrder::Kind::answer:
      if (const auto lane = impl_->lanes.find(order.trial); lane != impl_->lanes.end()) {
        lane->second->answer(order);
      }
      return;
    case WorkerOrder::Kind::suspend:
      impl_->suspend();
      return;
  }
}

}  // namespace muster
