// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gradient_pool.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/comm/node_group.h"

namespace muster {
namespace {

constexpr std::size_t line = 64;
constexpr std::size_t most_cached =
    std::size_t{1} << 30;  // heap bytes kept for reuse; more means shapes keep changing

std::size_t whole_lines(std::size_t bytes) {
  return (std::max<std::size_t>(bytes, 1) + line - 1) / line * line;
}

/// Lies on the line before every block that we hand out.
struct alignas(line) Header {
  GradientPool::State* state = nullptr;  // null: straight from the heap
  std::size_t bytes = 0;
  bool in_window = false;
};
static_assert(sizeof(Header) == line);

Header* header_of(void* data) {
  return static_cast<Header*>(data) - 1;
}

void* from_heap(std::size_t bytes, GradientPool::State* state) {
  void* base = std::aligned_alloc(line, bytes + line);
  if (base == nullptr) {
    throw Error(Fault::io, "out of memory: " + human_bytes(static_cast<double>(bytes)) +
                               " were asked for in one piece; make the model or train.batch_size "
                               "smaller, or set train.accumulate");
  }
  return new (base) Header{.state = state, .bytes = bytes, .in_window = false} + 1;
}

}  // namespace

struct GradientPool::State {
  struct Class {
    std::vector<void*> free;
    std::size_t left = 0;  // blocks that the window still owes this size; no size takes another's
  };
  std::mutex mutex;
  std::shared_ptr<SharedMemory> memory;
  std::span<std::byte> window;
  std::size_t window_used = 0;
  std::unordered_map<std::size_t, Class> window_classes;  // by size; only gradients' sizes
  std::unordered_map<std::size_t, Class> heap_classes;
  std::size_t heap_bytes = 0;    // taken and not given back to the heap
  std::size_t cached_bytes = 0;  // of these, free
  std::size_t alive = 1;         // blocks out, and the pool itself
  bool in_backward = false;      // written and read by the thread that entered

  void* take(std::size_t bytes);
  void give(void* data);
  void release();

 private:
  void* take_from_window(std::size_t bytes);
  void drop_cache();
};

namespace {

thread_local GradientPool::State* current = nullptr;

void give_back(void* data) {
  if (data == nullptr) {
    return;
  }
  Header* header = header_of(data);
  if (header->state != nullptr) {
    header->state->give(data);
  } else {
    std::free(header);  // NOLINT(cppcoreguidelines-no-malloc): aligned_alloc's partner
  }
}

class PoolAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* data = nullptr;
    if (bytes > 0) {
      data = current != nullptr ? current->take(whole_lines(bytes))
                                : from_heap(whole_lines(bytes), nullptr);
    }
    return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  // oneDNN allocates raw: the context must be the data and this must not be null.
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

}  // namespace

void* GradientPool::State::take(std::size_t bytes) {
  const std::lock_guard lock(mutex);
  ++alive;
  if (in_backward) {
    if (void* data = take_from_window(bytes)) {
      return data;
    }
  }
  auto& free = heap_classes[bytes].free;
  if (!free.empty()) {
    void* data = free.back();
    free.pop_back();
    cached_bytes -= bytes;
    return data;
  }
  heap_bytes += bytes;
  return from_heap(bytes, this);
}

void* GradientPool::State::take_from_window(std::size_t bytes) {
  const auto found = window_classes.find(bytes);
  if (found == window_classes.end()) {
    return nullptr;
  }
  auto& free = found->second.free;
  if (!free.empty()) {
    void* data = free.back();
    free.pop_back();
    return data;
  }
  if (found->second.left == 0) {
    return nullptr;
  }
  --found->second.left;
  std::byte* base = window.data() + window_used;
  window_used += bytes + line;
  return new (base) Header{.state = this, .bytes = bytes, .in_window = true} + 1;
}

void GradientPool::State::give(void* data) {
  const Header* header = header_of(data);
  {
    const std::lock_guard lock(mutex);
    if (header->in_window) {
      window_classes[header->bytes].free.push_back(data);
    } else {
      heap_classes[header->bytes].free.push_back(data);
      cached_bytes += header->bytes;
      if (cached_bytes > most_cached) {
        drop_cache();
      }
    }
  }
  release();
}

void GradientPool::State::drop_cache() {
  for (auto& [bytes, blocks] : heap_classes) {
    for (void* data : blocks.free) {
      std::free(header_of(data));  // NOLINT(cppcoreguidelines-no-malloc)
      heap_bytes -= bytes;
    }
    blocks.free.clear();
  }
  cached_bytes = 0;
}

void GradientPool::State::release() {
  bool last = false;
  {
    const std::lock_guard lock(mutex);
    last = --alive == 0;
  }
  if (last) {
    drop_cache();
    delete this;  // NOLINT(cppcoreguidelines-owning-memory): blocks own it together with the pool
  }
}

void GradientPool::install() {
  static std::once_flag once;
  std::call_once(once, [] {
    static PoolAllocator allocator;
    c10::SetCPUAllocator(&allocator, 100);
  });
}

namespace {

/// How many blocks of each size a window holds: the gradients, and two more for temporaries.
std::map<std::size_t, std::size_t> blocks_by_size(std::span<const std::size_t> gradient_bytes) {
  std::map<std::size_t, std::size_t> blocks;
  for (const std::size_t bytes : gradient_bytes) {
    auto& count = blocks[whole_lines(bytes)];
    count += count == 0 ? 3 : 1;
  }
  return blocks;
}

}  // namespace

std::size_t GradientPool::window_bytes(std::span<const std::size_t> gradient_bytes) {
  std::size_t sum = 0;
  for (const auto& [bytes, count] : blocks_by_size(gradient_bytes)) {
    sum += count * (bytes + line);
  }
  return sum;
}

GradientPool::GradientPool(std::shared_ptr<SharedMemory> memory, std::span<std::byte> window,
                           std::span<const std::size_t> gradient_bytes)
    : state_(new State) {  // NOLINT(cppcoreguidelines-owning-memory)
  require(reinterpret_cast<std::uintptr_t>(window.data()) % line == 0,
          "a gradient window starts on a line");
  state_->memory = std::move(memory);
  state_->window = window;
  require(window.size() >= window_bytes(gradient_bytes),
          "a gradient window holds all that window_bytes() counts");
  for (const auto& [bytes, count] : blocks_by_size(gradient_bytes)) {
    state_->window_classes[bytes].left = count;
  }
}

GradientPool::~GradientPool() {
  state_->release();
}

std::optional<std::size_t> GradientPool::offset_of(const void* data) const noexcept {
  const auto* at = static_cast<const std::byte*>(data);
  if (at < state_->window.data() || at >= state_->window.data() + state_->window.size()) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(at - state_->window.data());
}

std::size_t GradientPool::private_bytes() const noexcept {
  return state_->heap_bytes;
}

GradientPool::Entered::Entered(GradientPool& pool) noexcept
    : before_(std::exchange(current, pool.state_)) {}
GradientPool::Entered::~Entered() {
  current = before_;
}
GradientPool::Backward::Backward(GradientPool& pool) noexcept : state_(*pool.state_) {
  state_.in_backward = true;
}
GradientPool::Backward::~Backward() {
  state_.in_backward = false;
}

}  // namespace muster
