// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu/host_gpu.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>

#include "runtime/base/error.h"
#include "runtime/gpu/host_kernels.h"

namespace muster {
namespace {

/// The copies that have been asked for and not been made.
class LazyCopies {
 public:
  void add(void* to, const void* from, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back({to, from, bytes});
    ++asked_;
  }
  std::uint64_t asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }
  bool are_made(std::uint64_t count) {
    const std::lock_guard lock(mutex_);
    return asked_ - waiting_.size() >= count;
  }
  void make(std::uint64_t count) {
    const std::lock_guard lock(mutex_);
    while (asked_ - waiting_.size() < count) {
      const Copy copy = waiting_.front();
      std::memmove(copy.to, copy.from, copy.bytes);
      waiting_.pop_front();
    }
  }

 private:
  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes;
  };
  std::mutex mutex_;
  std::deque<Copy> waiting_;
  std::uint64_t asked_ = 0;
};

class Mark final : public GpuMark {
 public:
  Mark(std::shared_ptr<LazyCopies> copies, std::uint64_t count)
      : copies_(std::move(copies)), count_(count) {}
  bool is_done() override { return copies_->are_made(count_); }
  void wait() override { copies_->make(count_); }

 private:
  std::shared_ptr<LazyCopies> copies_;
  std::uint64_t count_;  // of the copy queue; 0 for compute, which is always over
};

// Of a job, what a graph would keep for ever. Places are left out: the host's torch moves its
// tensors about.
std::string numbers_of(const PackJob& job) {
  std::string text = std::string(name_of(job.to_type)) + (job.add == nullptr ? "" : " added");
  for (const PackPiece& piece : job.pieces) {
    text += fmt::format(" {}+{}", piece.offset, piece.count);
  }
  return text;
}
std::string numbers_of(const NormJob& job) {
  return fmt::format("{} {} {}", job.chunk_count, job.loss_count, job.loss_factor);
}
std::string numbers_of(const OrderJob& job) {
  return fmt::format("{} {}", job.rows, job.key);
}
std::string numbers_of(const DecideJob& job) {
  return fmt::format("{} {} {}", job.rate_count, job.clip_norm, job.ema);
}
std::string numbers_of(const UpdateJob& job) {
  return fmt::format("{} {} {} {}", job.chunk_count, job.momentum, job.decay, job.moved_count);
}
std::string numbers_of(const GatherJob& job) {
  return fmt::format("{} {} {} {}", job.count, job.first_part, job.batch, job.row_bytes);
}
std::string numbers_of(const CrossEntropyJob& job) {
  return fmt::format("{} {} {}", job.rows, job.classes, job.scale);
}
std::string numbers_of(const AddNormJob& job) {
  return fmt::format("{} {} {}", job.rows, job.width, job.residual != nullptr);
}
std::string numbers_of(const AddNormBackwardJob& job) {
  return fmt::format("{} {} {}", job.rows, job.width, job.add != nullptr);
}
std::string numbers_of(const ImageNormJob& job) {
  return fmt::format("{} {} {}", job.rows, job.channels, job.residual != nullptr);
}
std::string numbers_of(const ImageNormBackwardJob& job) {
  return fmt::format("{} {} {}", job.rows, job.channels, job.residual_to != nullptr);
}
std::string numbers_of(const PackNormJob& job) {
  return numbers_of(job.pack) + ' ' + numbers_of(job.norm);
}
std::string numbers_of(const BiasBackwardJob& job) {
  return fmt::format("{} {} {}", static_cast<int>(job.kind), job.rows, job.width);
}
std::string numbers_of(const PoolShape& shape) {
  return fmt::format("{} {} {} {} {}", shape.images, shape.height, shape.width, shape.channels,
                     shape.side);
}
std::string numbers_of(const PoolJob& job) {
  return numbers_of(job.shape);
}
std::string numbers_of(const PoolBackwardJob& job) {
  return numbers_of(job.shape);
}
std::string numbers_of(const GeluJob& job) {
  return std::to_string(job.count);
}
std::string numbers_of(const DropoutJob& job) {
  return fmt::format("{} {} {} {}", job.count, job.share, job.part, job.place);
}

/// What a graph of the real one would keep: our kernels with their numbers, in order. A graph is
/// recorded once, so a body must queue the same every time.
class Recording {
 public:
  void begin() { at_ = 0; }
  void add(std::string what) {
    if (!is_complete_) {
      expected_.push_back(std::move(what));
      return;
    }
    require(at_ < expected_.size() && expected_[at_] == what,
            "a captured body queues the same every time, not " + what);
    ++at_;
  }
  void end() {
    require(!is_complete_ || at_ == expected_.size(), "a captured body queues all that it did");
    is_complete_ = true;
  }

 private:
  std::vector<std::string> expected_;
  std::size_t at_ = 0;
  bool is_complete_ = false;
};

class Replay final : public GpuGraph {
 public:
  explicit Replay(std::function<void()> body) : body_(std::move(body)) {}
  void replay() override { body_(); }

 private:
  std::function<void()> body_;
};

class HostGpu final : public Gpu {
 public:
  explicit HostGpu(HostGpuOptions options) : options_(std::move(options)) {}
  ~HostGpu() override { synchronise(); }

  std::string name() const override { return "stand-in"; }
  Device device() const override { return {}; }
  GpuMemory memory() const override {
    const std::uint64_t taken = taken_->load() + shared_->load();
    return {options_.memory - std::min(options_.memory, taken), options_.memory};
  }
  std::uint64_t lane_bytes() override { return taken_->load(); }
  void* stream(Queue /*queue*/) override { return nullptr; }

  std::shared_ptr<std::byte> allocate(std::size_t bytes) override {
    refuse_in_graph("memory of the lane is allocated");
    if (bytes > memory().free) {
      throw Error(Fault::io,
                  fmt::format("out of memory on the GPU: {} bytes asked for, {} of {} free", bytes,
                              memory().free, memory().total));
    }
    *taken_ += bytes;
    return zeroed(bytes, [taken = taken_, bytes] { *taken -= bytes; });
  }
  std::shared_ptr<std::byte> allocate_shared(std::size_t bytes) override {
    *shared_ += bytes;
    return zeroed(bytes, [shared = shared_, bytes] { *shared -= bytes; });
  }
  std::shared_ptr<std::byte> allocate_pinned(std::size_t bytes) override {
    refuse_in_graph("pinned memory is allocated");
    if (*pinned_ + bytes > options_.pinned) {
      throw Error(Fault::io, fmt::format("out of pinned memory: {} bytes asked for", bytes));
    }
    *pinned_ += bytes;
    return zeroed(bytes, [pinned = pinned_, bytes] { *pinned -= bytes; });
  }

  void copy(void* to, const void* from, std::size_t bytes, Queue queue) override {
    refuse_in_graph("the host copies");
    note(fmt::format("copy {} {}", queue == Queue::copy ? "copy" : "compute", bytes));
    if (queue == Queue::copy) {
      copies_->add(to, from, bytes);
    } else {
      std::memmove(to, from, bytes);
    }
  }
  GpuEvent record(Queue queue) override {
    note(queue == Queue::copy ? "record copy" : "record compute");
    return std::make_shared<Mark>(copies_, queue == Queue::copy ? copies_->asked() : 0);
  }
  void wait(Queue queue, const GpuEvent& event) override {
    note(queue == Queue::copy ? "wait copy" : "wait compute");
    if (queue == Queue::compute) {
      event->wait();  // compute runs at once, so what it waits for must run now
    }
  }
  void synchronise() override {
    refuse_in_graph("the host waits");
    copies_->make(copies_->asked());
  }

  void run(const PackJob& job) override { queue("pack", job); }
  void run(const NormJob& job) override { queue("norm", job); }
  void run(const DecideJob& job) override { queue("decide", job); }
  void run(const UpdateJob& job) override { queue("update", job); }
  void run(const OrderJob& job) override { queue("order", job); }
  void run(const GatherJob& job) override { queue("gather", job); }
  void run(const CrossEntropyJob& job) override { queue("cross_entropy", job); }
  void run(const AddNormJob& job) override { queue("add_norm", job); }
  void run(const AddNormBackwardJob& job) override { queue("add_norm_backward", job); }
  void run(const ImageNormJob& job) override { queue("image_norm", job); }
  void run(const ImageNormBackwardJob& job) override { queue("image_norm_backward", job); }
  void run(const PackNormJob& job) override { queue("pack_norm", job); }
  void run(const BiasBackwardJob& job) override { queue("bias_backward", job); }
  void run(const PoolJob& job) override { queue("pool", job); }
  void run(const PoolBackwardJob& job) override { queue("pool_backward", job); }
  void run(const GeluJob& job) override { queue("gelu", job); }
  void run(const DropoutJob& job) override { queue("dropout", job); }

  void seed(std::uint64_t /*key*/) override { note("seed"); }  // torch is not known here
  std::unique_ptr<GpuScope> enter() override { return std::make_unique<GpuScope>(); }
  std::unique_ptr<GpuScope> scratch() override { return std::make_unique<GpuScope>(); }
  std::unique_ptr<GpuGraph> capture(const std::function<void()>& body, std::string& why) override {
    why = options_.no_graphs;
    note(why.empty() ? "capture" : "capture refused");
    if (!why.empty()) {
      return nullptr;
    }
    return std::make_unique<Replay>([this, body, recording = std::make_shared<Recording>()] {
      note("replay");
      recording->begin();
      recording_ = recording.get();
      try {
        body();
      } catch (...) {
        recording_ = nullptr;
        throw;
      }
      recording_ = nullptr;
      recording->end();
    });
  }
  void warm(const std::function<void()>& body) override { body(); }

 private:
  template <class Job>
  void queue(const char* name, const Job& job) {
    note(name);
    if (recording_ != nullptr) {
      recording_->add(std::string(name) + " " + numbers_of(job));
    }
    host_kernels::run(job);
  }
  void refuse_in_graph(const char* what) const {
    if (recording_ != nullptr) {
      throw Error(Fault::bug, fmt::format("in a captured step {}", what));
    }
  }
  void note(std::string what) {
    if (options_.trace != nullptr) {
      options_.trace->push_back(std::move(what));
    }
  }
  template <class Gone>
  static std::shared_ptr<std::byte> zeroed(std::size_t bytes, Gone gone) {
    constexpr std::size_t alignment = 512;
    const std::size_t room = (bytes + alignment - 1) / alignment * alignment + alignment;
    auto* data = static_cast<std::byte*>(std::aligned_alloc(alignment, room));
    require(data != nullptr, "the host has memory");
    std::memset(data, 0, room);
    return {data, [gone](std::byte* memory) {
              std::free(memory);  // NOLINT(cppcoreguidelines-no-malloc)
              gone();
            }};
  }

  HostGpuOptions options_;
  Recording* recording_ = nullptr;  // while a graph is played
  std::shared_ptr<std::atomic<std::uint64_t>> taken_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);
  std::shared_ptr<std::atomic<std::uint64_t>> shared_ =  // by several lanes
      std::make_shared<std::atomic<std::uint64_t>>(0);
  std::shared_ptr<std::atomic<std::uint64_t>> pinned_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);
  std::shared_ptr<LazyCopies> copies_ = std::make_shared<LazyCopies>();
};

}  // namespace

std::unique_ptr<Gpu> host_gpu(const HostGpuOptions& options) {
  return std::make_unique<HostGpu>(options);
}

}  // namespace muster
