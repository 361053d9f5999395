/// checkpoint_bench DIRECTORY [THREADS]: measures one thing for each word read from stdin and
/// answers with its seconds, so that run.py can interleave it with its peers: save (stall and
/// persist), raw1, raw2, raw4, raw8 (by so many threads), copy, alone, together, group.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/base/handle.h"
#include "runtime/checkpoint/checkpoint_engine.h"

namespace muster {
namespace {

constexpr std::uint64_t block = 8 << 20;

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// 300 tensors of 1.56 GB: 100 of 14 MB, 100 of 1.6 MB, 100 of 4 KiB.
struct BigState {
  std::vector<std::vector<float>> tensors;
  BigState() {
    for (const std::size_t count : {3500000, 400000, 1024}) {
      for (int i = 0; i < 100; ++i) {
        tensors.emplace_back(count, static_cast<float>(i) * 0.37F + 1);
      }
    }
  }
  StateTree tree() {
    StateTree tree;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      tree.add_whole("model/layer" + std::to_string(i) + ".weight", std::span(tensors[i]));
    }
    return tree;
  }
};

/// The limit of the disk: the same bytes, reserved, written past the page cache by so many threads,
/// synced.
double raw_write(const Path& path, std::span<const std::byte> bytes, int threads) {
  const Descriptor file(
      ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600));
  const std::uint64_t whole = bytes.size() / block * block;
  const double seconds = seconds_of([&] {
    require(::fallocate(file.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(whole)) == 0,
            "fallocate failed");
    require(::ftruncate(file.get(), static_cast<off_t>(whole)) == 0, "ftruncate failed");
    std::atomic<std::uint64_t> next{0};
    const auto work = [&] {
      for (std::uint64_t at = next.fetch_add(block); at < whole; at = next.fetch_add(block)) {
        require(::pwrite(file.get(), bytes.data() + at, block, static_cast<off_t>(at)) ==
                    static_cast<ssize_t>(block),
                "a raw write failed");
      }
    };
    {
      std::vector<std::jthread> helpers;
      for (int i = 1; i < threads; ++i) {
        helpers.emplace_back(work);
      }
      work();
    }
    require(::fsync(file.get()) == 0, "fsync failed");
  });
  ::unlink(path.c_str());
  return seconds * static_cast<double>(bytes.size()) / static_cast<double>(whole);
}

/// 16 trials of 8 MB.
struct Trials {
  static constexpr int count = 16;
  std::vector<std::vector<float>> states;
  std::vector<std::unique_ptr<Snapshot>> snapshots;
  std::vector<GroupMember> members;
  Trials() {
    for (int i = 0; i < count; ++i) {
      states.emplace_back(2000000, static_cast<float>(i));
      StateTree tree;
      tree.add_whole("model/weight", std::span(states.back()), {1000, 2000});
      snapshots.push_back(std::make_unique<Snapshot>(Plan::make(tree)));
      snapshots.back()->take(tree, {.step = 1});
      members.push_back({.name = std::to_string(i), .snapshot = snapshots.back().get()});
    }
  }
};

class Bench {
 public:
  Bench(Path directory, int threads)
      : directory_(std::move(directory)),
        tree_(big_.tree()),
        engine_({.directory = directory_ / "ours",
                 .interval = {.steps = 1},
                 .keep = 1,
                 .threads = threads},
                *alone_, posix_file_system(), clock_),
        source_(1),
        target_(1) {
    posix_file_system().remove(directory_);
    engine_.prepare(tree_);
    const std::uint64_t bytes = tree_.local_bytes();
    source_ = PinnedMemory((bytes + block - 1) / block * block);
    target_ = PinnedMemory(source_.bytes().size());
    std::memset(source_.bytes().data(), 1, source_.bytes().size());
  }

  std::string measure(const std::string& word) {
    if (word == "save") {
      engine_.save_now(tree_, {.step = ++step_});
      const SaveCost cost = engine_.last_cost().value();
      return std::to_string(cost.persist_seconds) + " " + std::to_string(cost.stall_seconds);
    }
    if (word.starts_with("raw")) {
      const int threads = std::atoi(word.c_str() + 3);
      return std::to_string(raw_write(directory_ / "raw", source_.bytes(), threads));
    }
    if (word == "copy") {
      return std::to_string(seconds_of([&] {
        std::memcpy(target_.bytes().data(), source_.bytes().data(), tree_.local_bytes());
      }));
    }
    return measure_trials(word);
  }

  std::uint64_t bytes() const { return tree_.local_bytes(); }
  bool is_direct() const { return engine_.is_direct(); }

 private:
  std::string measure_trials(const std::string& word) {
    const auto commit = [this](int i) {
      commit_group(CheckpointStore(directory_ / ("trial" + std::to_string(i))),
                   std::span(trials_.members).subspan(static_cast<std::size_t>(i), 1), clock_);
    };
    double seconds = 0;
    if (word == "alone") {
      seconds = seconds_of([&] {
        for (int i = 0; i < Trials::count; ++i) {
          commit(i);
        }
      });
    } else if (word == "together") {
      seconds = seconds_of([&] {
        std::vector<std::jthread> threads;
        for (int i = 0; i < Trials::count; ++i) {
          threads.emplace_back([&commit, i] { commit(i); });
        }
      });
    } else {
      seconds = seconds_of(
          [&] { commit_group(CheckpointStore(directory_ / "group"), trials_.members, clock_); });
    }
    for (int i = 0; i < Trials::count; ++i) {
      posix_file_system().remove(directory_ / ("trial" + std::to_string(i)));
    }
    posix_file_system().remove(directory_ / "group");
    return std::to_string(seconds);
  }

  Path directory_;
  BigState big_;
  StateTree tree_;
  Trials trials_;
  SystemClock clock_;
  std::unique_ptr<Communicator> alone_ = solo_communicator();
  CheckpointEngine engine_;
  PinnedMemory source_;
  PinnedMemory target_;
  std::int64_t step_ = 0;
};

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: checkpoint_bench DIRECTORY [THREADS]\n";
    return 64;
  }
  try {
    muster::Bench bench(argv[1], argc > 2 ? std::atoi(argv[2]) : muster::EngineOptions{}.threads);
    std::cout << bench.bytes() << " " << (bench.is_direct() ? "direct" : "buffered") << std::endl;
    for (std::string word; std::cin >> word;) {
      std::cout << bench.measure(word) << std::endl;
    }
  } catch (const std::exception& error) {
    std::cerr << muster::report(error) << "\n";
    return 1;
  }
  muster::posix_file_system().remove(argv[1]);
}
