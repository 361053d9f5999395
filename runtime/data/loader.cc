// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/loader.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "runtime/base/error.h"
#include "runtime/base/thread_name.h"

namespace muster {
namespace {

/// Memory that begins on a 64-byte line.
class AlignedBuffer {
 public:
  std::span<std::byte> resized(std::size_t bytes) {
    constexpr std::size_t line = 64;
    storage_.resize(bytes + line);
    void* at = storage_.data();
    std::size_t space = storage_.size();
    return {static_cast<std::byte*>(std::align(line, bytes, at, space)), bytes};
  }

 private:
  std::vector<std::byte> storage_;
};

struct Slot {
  HostBatch batch;
  AlignedBuffer features;
  AlignedBuffer labels;
  std::exception_ptr failure;
};

}  // namespace

struct Loader::Impl {
  const Dataset& dataset;
  Options options;
  BatchPlan plan;
  Mixing mixing;
  DataPosition upcoming;             // of the consumer
  std::optional<SampleOrder> order;  // of `order_epoch`; touched by whoever gathers
  std::uint64_t order_epoch = 0;
  std::vector<std::uint64_t> rows;
  Nanoseconds waited{0};
  Slot current;

  std::mutex mutex;
  std::condition_variable_any changed;
  std::deque<Slot> ready;  // guarded, as all that follows
  std::deque<Slot> spare;
  DataPosition producing;
  std::uint64_t generation = 0;  // seek() throws away what an older one made
  std::jthread thread;           // last: stops before the rest goes

  Impl(const Dataset& set, Options wanted)
      : dataset(set),
        options(std::move(wanted)),
        plan{.rows = set.rows(), .batch = options.batch, .drop_last = options.drop_last},
        mixing(set.mixing()) {
    mixing.shuffle = options.shuffle;
    require(plan.steps() > 0, "a loader without a batch");
    if (options.prefetch > 0 && dataset.tier() != "resident") {
      spare.resize(static_cast<std::size_t>(options.prefetch));
      thread = std::jthread([this](const std::stop_token& stop) { produce(stop); });
    }
  }

  bool has_thread() const { return thread.joinable(); }

  DataPosition after(DataPosition position) const {
    return position.step + 1 < plan.steps() ? DataPosition{position.epoch, position.step + 1}
                                            : DataPosition{position.epoch + 1, 0};
  }

  void gather(DataPosition position, Slot& slot) {
    if (!order || order_epoch != position.epoch) {
      order.emplace(dataset.rows(), options.seed, position.epoch, mixing);
      order_epoch = position.epoch;
    }
    HostBatch& batch = slot.batch;
    batch.position = position;
    batch.whole = plan.of_step(position.step);
    batch.part = options.part ? options.part(batch.whole) : batch.whole;
    rows.resize(batch.part.count);
    for (std::uint64_t i = 0; i < batch.part.count; ++i) {
      rows[i] = (*order)(batch.part.first + i);
    }
    const auto features = slot.features.resized(rows.size() * dataset.shape().feature_bytes());
    const auto labels = slot.labels.resized(rows.size() * dataset.shape().label_bytes());
    dataset.gather(rows, features, labels);
    batch.features = features;
    batch.labels = labels;
  }

  void produce(const std::stop_token& stop) {
    name_thread("data loader");
    std::unique_lock lock(mutex);
    while (changed.wait(lock, stop, [&] { return !spare.empty(); }) && !stop.stop_requested()) {
      Slot slot = std::move(spare.front());
      spare.pop_front();
      const DataPosition position = producing;
      const std::uint64_t made_for = generation;
      producing = after(position);
      lock.unlock();
      slot.failure = nullptr;
      try {
        gather(position, slot);
      } catch (...) {
        slot.failure = std::current_exception();
      }
      lock.lock();
      (made_for == generation ? ready : spare).push_back(std::move(slot));
      changed.notify_all();
    }
  }

  void seek(DataPosition position) {
    const std::lock_guard lock(mutex);
    upcoming = position;
    producing = position;
    ++generation;
    while (!ready.empty()) {
      spare.push_back(std::move(ready.front()));
      ready.pop_front();
    }
    changed.notify_all();
  }

  void take() {
    std::unique_lock lock(mutex);
    spare.push_back(std::move(current));
    changed.notify_all();
    changed.wait(lock, [&] { return !ready.empty(); });
    current = std::move(ready.front());
    ready.pop_front();
    if (current.failure) {
      std::rethrow_exception(current.failure);
    }
  }
};

Loader::Loader(const Dataset& dataset, Options options)
    : impl_(std::make_unique<Impl>(dataset, std::move(options))) {}

Loader::~Loader() = default;

std::uint64_t Loader::steps_per_epoch() const {
  return impl_->plan.steps();
}

void Loader::seek(DataPosition position) {
  require(position.step < impl_->plan.steps(), "a step outside the epoch");
  impl_->seek(position);
}

const HostBatch& Loader::next() {
  const auto start = std::chrono::steady_clock::now();
  if (impl_->has_thread()) {
    impl_->take();
  } else {
    impl_->gather(impl_->upcoming, impl_->current);
  }
  impl_->upcoming = impl_->after(impl_->upcoming);
  impl_->waited += std::chrono::steady_clock::now() - start;
  return impl_->current.batch;
}

Nanoseconds Loader::waited() const {
  return impl_->waited;
}

}  // namespace muster
