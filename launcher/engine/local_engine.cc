// Ranks of this machine, started by fork and exec. They meet in shared memory through the control
// page and never initialise MPI. SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "launcher/engine/engine.h"
#include "launcher/engine/line_reader.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

struct LocalRank {
  Process process;
  LineReader output;
  LineReader error;
  bool reported = false;
};

class LocalGroup final : public RankGroup {
 public:
  explicit LocalGroup(int ranks) : page_(ControlPage::create(ranks)) {
    page_.header().supervisor_pid = static_cast<std::int32_t>(::getpid());
  }

  void add(ProcessSpec spec) {
    Pipe output = output_pipe();
    Pipe error = output_pipe();
    spec.output = output.theirs.get();
    spec.error = error.theirs.get();
    ranks_.push_back({Process::start(spec), LineReader(std::move(output.ours)),
                      LineReader(std::move(error.ours))});
  }

  void poll(std::chrono::milliseconds at_most, int wake, std::vector<RankEvent>& events) override {
    std::vector<pollfd> waits;
    for (const auto& rank : ranks_) {
      for (const int descriptor : {rank.output.descriptor(), rank.error.descriptor(),
                                   rank.reported ? -1 : rank.process.descriptor()}) {
        waits.push_back({descriptor, POLLIN, 0});  // poll(2) skips -1
      }
    }
    waits.push_back({wake, POLLIN, 0});
    ::poll(waits.data(), waits.size(), static_cast<int>(at_most.count()));
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      collect(static_cast<int>(i), events);
    }
  }

  bool running() const override {
    return std::ranges::any_of(ranks_, [](const LocalRank& rank) { return !rank.reported; });
  }
  void signal(int signal) override {
    for (auto& rank : ranks_) {
      rank.process.signal(signal);
    }
  }
  void kill() override {
    for (auto& rank : ranks_) {
      rank.process.kill_tree();
    }
  }
  ControlPage* page() override { return &page_; }
  pid_t pid_of(int rank) const override {
    const auto& one = ranks_.at(static_cast<std::size_t>(rank));
    return one.reported ? -1 : one.process.pid();
  }
  const ControlPage& control() const { return page_; }

 private:
  /// Output first: a rank's last words come before its end.
  void collect(int index, std::vector<RankEvent>& events) {
    auto& rank = ranks_[static_cast<std::size_t>(index)];
    const auto ended = rank.reported ? std::nullopt : rank.process.poll();
    hand_over(rank.output, RankEvent::Kind::output, index, events);
    hand_over(rank.error, RankEvent::Kind::error_output, index, events);
    if (ended) {
      rank.reported = true;
      RankEvent event;
      event.kind = RankEvent::Kind::ended;
      event.rank = index;
      event.ended = *ended;
      events.push_back(std::move(event));
    }
  }

  static void hand_over(LineReader& reader, RankEvent::Kind kind, int index,
                        std::vector<RankEvent>& events) {
    std::vector<OutputLine> lines;
    reader.read(lines);
    for (auto& line : lines) {
      RankEvent event;
      event.kind = kind;
      event.rank = index;
      event.text = std::move(line.text);
      event.is_live = line.is_live;
      events.push_back(std::move(event));
    }
  }

  ControlPage page_;
  std::vector<LocalRank> ranks_;
};

class LocalEngine final : public Engine {
 public:
  std::string_view name() const override { return "local"; }

  std::string plan(const JobLaunch& launch) const override {
    const Machine machine = this_machine();
    return describe(machine, divide(machine, launch.ranks, launch.threads), "this machine",
                    launch.cards());
  }

  std::unique_ptr<RankGroup> start(const JobLaunch& launch) override {
    const auto shares = divide(this_machine(), launch.ranks, launch.threads);
    auto group = std::make_unique<LocalGroup>(launch.ranks);
    for (int rank = 0; rank < launch.ranks; ++rank) {
      group->add(spec_for(launch, *group, rank, shares[static_cast<std::size_t>(rank)]));
    }
    return group;
  }

 private:
  static ProcessSpec spec_for(const JobLaunch& launch, const LocalGroup& group, int rank,
                              const Share& share) {
    ProcessSpec spec;
    spec.command = launch.command;
    spec.environment = launch.environment;
    spec.directory = launch.directory;
    if (launch.bind) {
      spec.cpus = share.cpus;
    }
    const Seat seat{rank, launch.ranks, rank, launch.ranks, ""};
    if (launch.of_seat) {
      for (auto& [variable, value] : launch.of_seat(seat)) {
        spec.environment[variable] = value;
      }
    }
    spec.environment["MUSTER_LAUNCH"] =
        fmt::format("rank={} size={} local_rank={} local_size={} control={}", rank, launch.ranks,
                    rank, launch.ranks, group.control().path());
    spec.environment.try_emplace("OMP_NUM_THREADS", std::to_string(share.threads));
    if (launch.cards() == CardUse::one_each && !share.gpus.empty()) {
      spec.environment["CUDA_VISIBLE_DEVICES"] = join(share.gpus, ",");
    }
    return spec;
  }
};

}  // namespace

std::unique_ptr<Engine> local_engine() {
  return std::make_unique<LocalEngine>();
}

}  // namespace muster
