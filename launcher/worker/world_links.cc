// SPDX-License-Identifier: Apache-2.0
#include "launcher/worker/world_links.h"

#include <fmt/format.h>

#include <utility>

#include "runtime/base/text.h"

namespace muster {
namespace {

class RankLink final : public WorkerLink {
 public:
  RankLink(WorldPost& post, int rank, std::size_t slots)
      : post_(post), rank_(rank), slots_(slots) {}
  ~RankLink() override { post_.send(rank_, PostTag::end, ""); }
  std::string name() const override { return fmt::format("rank {}", rank_); }
  std::size_t slots() const override { return slots_; }
  void send(std::string_view lines) override {
    post_.send(rank_, PostTag::order, std::string(lines));
  }
  std::optional<WorkerEnd> ended() override { return std::nullopt; }  // MPI ends all with one
  void receive(std::vector<std::string>& lines) override {
    for (const auto& letter : post_.from(rank_)) {
      for (auto& line : split(letter.text, '\n')) {
        if (!line.empty()) {
          lines.push_back(std::move(line));
        }
      }
    }
  }

 private:
  WorldPost& post_;
  int rank_;
  std::size_t slots_;
};

class RankWorkers final : public WorkerSource {
 public:
  RankWorkers(WorldPost& post, std::vector<int> ranks, std::size_t slots_each,
              std::function<void()> on_look)
      : post_(post),
        ranks_(std::move(ranks)),
        slots_each_(slots_each),
        on_look_(std::move(on_look)) {}
  std::vector<std::unique_ptr<WorkerLink>> joined() override {
    on_look_();
    post_.poll();
    std::vector<std::unique_ptr<WorkerLink>> links;
    for (const int rank : std::exchange(ranks_, {})) {
      links.push_back(std::make_unique<RankLink>(post_, rank, slots_each_));
    }
    return links;
  }
  std::chrono::milliseconds look_every() const override { return std::chrono::milliseconds(1); }

 private:
  WorldPost& post_;
  std::vector<int> ranks_;  // that have not joined yet
  std::size_t slots_each_;
  std::function<void()> on_look_;
};

/// The next message to this rank, if one is there. On the MPI thread.
bool receive(int& from, Letter& letter) {
  int is_there = 0;
  MPI_Status status;
  MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &is_there, &status);
  if (is_there == 0) {
    return false;
  }
  int length = 0;
  MPI_Get_count(&status, MPI_CHAR, &length);
  from = status.MPI_SOURCE;
  letter.tag = static_cast<PostTag>(status.MPI_TAG);
  letter.text.assign(static_cast<std::size_t>(length), '\0');
  MPI_Recv(letter.text.data(), length, MPI_CHAR, from, status.MPI_TAG, MPI_COMM_WORLD,
           MPI_STATUS_IGNORE);
  return true;
}

}  // namespace

WorldPost::WorldPost(MpiWorld& world) : world_(world) {
  world_.run([this] {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  });
}

void WorldPost::send(int to, PostTag tag, std::string text) {
  sending_.push_back({.text = std::move(text)});
  auto& last = sending_.back();
  world_.run([&] {
    MPI_Isend(last.text.data(), static_cast<int>(last.text.size()), MPI_CHAR, to,
              static_cast<int>(tag), MPI_COMM_WORLD, &last.request);
  });
}

void WorldPost::poll() {
  world_.run([this] {
    for (int is_done = 1; !sending_.empty() && is_done != 0;) {
      MPI_Test(&sending_.front().request, &is_done, MPI_STATUS_IGNORE);
      if (is_done != 0) {
        sending_.pop_front();
      }
    }
    int from = 0;
    for (Letter letter; receive(from, letter); letter = {}) {
      come_[from].push_back(std::move(letter));
    }
  });
}

std::vector<Letter> WorldPost::from(int rank) {
  return std::exchange(come_[rank], {});
}

void WorldPost::drain() {
  world_.run([this] {
    for (auto& each : sending_) {
      MPI_Wait(&each.request, MPI_STATUS_IGNORE);
    }
    sending_.clear();
  });
}

std::unique_ptr<WorkerSource> rank_workers(WorldPost& post, std::vector<int> ranks,
                                           std::size_t slots_each, std::function<void()> on_look) {
  return std::make_unique<RankWorkers>(post, std::move(ranks), slots_each, std::move(on_look));
}

}  // namespace muster
