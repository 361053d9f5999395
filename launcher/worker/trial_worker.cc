// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/trial_worker.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "launcher/sweep/group_store.h"
#include "launcher/worker/trial_lane.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/checkpoint/checkpoint_engine.h"
#include "runtime/comm/node_group.h"
#include "runtime/config/load.h"
#include "runtime/gpu/open_gpus.h"

namespace muster {

struct TrialWorker::Impl {
  Impl(TrialWorkerPlan given, std::function<void(const WorkerEvent&)> tell)
      : plan(std::move(given)) {
    host.say = [this, tell = std::move(tell)](const WorkerEvent& event) {
      const std::lock_guard lock(saying);
      tell(event);
    };
    host.data = [this](const JobSettings& job, const std::string& key) {
      return data_for(job, key);
    };
    host.trials = plan.sweep / "trials";
    host.group = plan.sweep / "checkpoints";
    host.objective = plan.objective;
    host.commit_seconds = plan.commit_seconds;
  }

  void open_gpu(const std::string& wanted);

  TrialJob job_of(const std::vector<std::pair<std::string, std::string>>& parameters) const;
  std::shared_ptr<DataSets> data_for(const JobSettings& job, const std::string& key);
  void start(const WorkerOrder& order);
  void suspend();
  void sweep_out();

  TrialWorkerPlan plan;
  LaneHost host;
  std::unique_ptr<LaneGpus> gpu;
  std::mutex saying;
  std::mutex loading;
  std::unique_ptr<NodeGroup> node = solo_node_group();
  std::map<std::string, std::shared_ptr<DataSets>> data;  // by what the search says of [data]
  std::map<std::uint32_t, std::unique_ptr<TrialLane>> lanes;
  std::map<std::uint32_t, std::unique_ptr<Snapshot>> paused;  // promoted without a look at the disk
};

TrialWorker::TrialWorker(TrialWorkerPlan plan, std::function<void(const WorkerEvent&)> say)
    : impl_(std::make_unique<Impl>(std::move(plan), std::move(say))) {
  // What is wrong with the job is found before the first trial.
  impl_->open_gpu(impl_->job_of({}).settings.train.device);
}

/// One GPU a worker: the engine that started it shows it no other.
void TrialWorker::Impl::open_gpu(const std::string& wanted) {
  std::string why;
  if (Gpus* gpus = open_gpus(wanted, why)) {
    gpu.reset(new LaneGpus{.gpus = gpus, .admission = Admission(gpus->lane(0)->memory().free)});
    host.gpus = gpu.get();
    log::info(fmt::format("trials share one {}", gpus->lane(0)->name()));
  }
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
}

void TrialWorker::Impl::start(const WorkerOrder& order) {
  if (const auto old = lanes.find(order.trial); old != lanes.end()) {
    old->second->join();  // its slot was free before its commit was on the disk
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
    failure.state = "failed";
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
      snapshots.push_back(lane->take_snapshot());
      members.push_back({.name = group_member_name(trial), .snapshot = snapshots.back().get()});
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
