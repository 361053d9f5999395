// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/pretend_card/card.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

namespace muster::pretend {
namespace {

constexpr std::size_t most_guarded = std::size_t{128} << 20;  // to close more takes too long

std::size_t whole_pages(std::size_t bytes) {
  constexpr std::size_t page = 4096;
  return (bytes + page - 1) / page * page;
}

std::FILE* open_named_by(const char* variable) {
  const char* name = std::getenv(variable);
  return name == nullptr ? nullptr : std::fopen(name, "a");
}

void write_line(std::FILE* file, const std::string& line) {
  if (file != nullptr) {
    std::fprintf(file, "%s\n", line.c_str());
    std::fflush(file);
  }
}

}  // namespace

Card& card() {
  static auto* one = new Card;  // NOLINT(cppcoreguidelines-owning-memory): outlives libraries
  return *one;
}

cudaError_t& last_error() {
  thread_local cudaError_t error = cudaSuccess;
  return error;
}

int& current_device() {
  thread_local int device = 0;
  return device;
}

Card::Card()
    : legacy_{.number = 0, .is_blocking = true, .capture = {}, .tail = {}, .line = Line::make(0)} {}

Queue* Card::queue_of(cudaStream_t stream, const char* call) {
  if (stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread) {
    return &legacy_;
  }
  auto* queue = reinterpret_cast<Queue*>(stream);
  if (!queues_.contains(queue)) {
    fault(cudaErrorInvalidResourceHandle, std::string(call) + " on a queue that is gone");
    return nullptr;
  }
  return queue;
}

Queue* Card::open_queue(bool is_blocking) {
  auto* queue = new Queue;  // NOLINT(cppcoreguidelines-owning-memory): a handle
  queue->number = next_queue_++;
  queue->is_blocking = is_blocking;
  queue->line = Line::make(queue->number);
  queues_.insert(queue);
  return queue;
}

bool Card::close_queue(cudaStream_t stream) {
  auto* queue = reinterpret_cast<Queue*>(stream);
  if (queues_.erase(queue) == 0) {
    return false;
  }
  if (queue->capture) {
    fault(cudaErrorInvalidResourceHandle, "a queue is closed while it is captured");
  }
  queue->line->close();
  delete queue;  // NOLINT(cppcoreguidelines-owning-memory)
  return true;
}

Mark* Card::open_mark() {
  auto* mark = new Mark;  // NOLINT(cppcoreguidelines-owning-memory): a handle
  marks_.insert(mark);
  return mark;
}

bool Card::close_mark(cudaEvent_t event) {
  auto* mark = reinterpret_cast<Mark*>(event);
  if (marks_.erase(mark) == 0) {
    return false;
  }
  delete mark;  // NOLINT(cppcoreguidelines-owning-memory)
  return true;
}

Mark* Card::mark_of(cudaEvent_t event, const char* call) {
  auto* mark = reinterpret_cast<Mark*>(event);
  if (marks_.contains(mark)) {
    return mark;
  }
  fault(cudaErrorInvalidResourceHandle, std::string(call) + " of an event that is gone");
  return nullptr;
}

cudaError_t Card::add(cudaStream_t stream, const std::string& what, std::function<void()> work) {
  std::unique_lock lock(mutex);
  Queue* queue = queue_of(stream, what.c_str());
  if (queue == nullptr) {
    return cudaErrorInvalidResourceHandle;
  }
  if (is_lost_) {
    return answer(cudaErrorIllegalAddress);
  }
  if (queue->capture) {
    if (queue->capture->is_broken) {
      return answer(cudaErrorStreamCaptureInvalidated);
    }
    auto& steps = queue->capture->recording.steps;
    steps.push_back({.what = what, .work = std::move(work), .after = queue->tail});
    queue->tail = {steps.size() - 1};
    note("captured on " + std::to_string(queue->number) + ": " + what);
    return cudaSuccess;
  }
  for (const auto& [thread, capture] : capturing) {
    if (queue->is_blocking && queue->number == 0 && capture->origin->is_blocking) {
      capture->is_broken = true;
      return fault(cudaErrorStreamCaptureImplicit,
                   what + " on the default queue while a blocking one is captured");
    }
    if (thread == std::this_thread::get_id()) {
      fault(cudaSuccess, what + " on queue " + std::to_string(queue->number) +
                             ", which the capture of this thread leaves out");
    }
  }
  ++counts[what];
  note("queue " + std::to_string(queue->number) + ": " + what);
  follow_default_queue(*queue);
  const std::shared_ptr<Line> line = queue->line;
  line->add(work ? [this, work = std::move(work)] { run(work); } : std::function<void()>());
  lock.unlock();
  line->wait_for_room();
  return cudaSuccess;
}

/// The default queue and those that were made as blocking wait for each other.
void Card::follow_default_queue(const Queue& queue) {
  if (!queue.is_blocking) {
    return;
  }
  if (queue.number != 0) {
    queue.line->add_wait(legacy_.line->end());
    return;
  }
  for (const Queue* other : queues_) {
    if (other->is_blocking) {
      queue.line->add_wait(other->line->end());
    }
  }
}

void Card::open_memory() {
  const std::lock_guard lock(mutex);
  ++at_work_;
  if (!is_open_) {
    protect(PROT_READ | PROT_WRITE);
    is_open_ = true;
  }
}

void Card::close_memory() {
  const std::lock_guard lock(mutex);
  if (--at_work_ == 0 && used_ <= most_guarded) {
    protect(PROT_NONE);
    is_open_ = false;
  }
}

void Card::run(const std::function<void()>& work) {
  static const char* const breaks = std::getenv("PRETEND_CARD_BREAKS");
  if (breaks != nullptr && ++done_ >= 500 && !is_lost_) {
    is_lost_ = std::remove(breaks) == 0;
  }
  if (is_lost_) {
    return;
  }
  try {
    work();
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex);
    is_lost_ = true;
    fault(cudaErrorIllegalAddress, std::string("queued work failed: ") + error.what());
  }
}

void Card::protect(int rights) {
  std::uintptr_t from = 0;
  std::uintptr_t to = 0;
  const auto apply = [&] {
    if (to > from) {
      ::mprotect(reinterpret_cast<void*>(from), to - from, rights);
    }
  };
  for (const auto& [begin, piece] : pieces_) {
    if (!piece.is_device) {
      continue;
    }
    if (begin != to) {
      apply();
      from = begin;
    }
    to = begin + whole_pages(piece.bytes);
  }
  apply();
}

std::vector<Place> Card::ends() {
  const std::lock_guard lock(mutex);
  std::vector<Place> all{legacy_.line->end()};
  for (const Queue* queue : queues_) {
    all.push_back(queue->line->end());
  }
  return all;
}

bool Card::may_be_unsafe(const char* call) {
  const std::lock_guard lock(mutex);
  for (const auto& [thread, capture] : capturing) {
    const bool is_own = thread == std::this_thread::get_id();
    if (capture->mode == cudaStreamCaptureModeGlobal ||
        (capture->mode == cudaStreamCaptureModeThreadLocal && is_own)) {
      capture->is_broken = true;
      fault(cudaErrorStreamCaptureUnsupported, std::string(call) + " during a capture");
      return false;
    }
  }
  return true;
}

bool Card::may_wait_for_all(const char* call) {
  const std::lock_guard lock(mutex);
  for (const auto& [thread, capture] : capturing) {
    capture->is_broken = true;
  }
  if (!capturing.empty()) {
    fault(cudaErrorStreamCaptureUnsupported, std::string(call) + " during a capture");
  }
  return capturing.empty();
}

bool Card::may_wait(Queue* queue, const char* call) {
  if (queue != nullptr && queue->capture) {
    queue->capture->is_broken = true;
    fault(cudaErrorStreamCaptureUnsupported, std::string(call) + " of a queue that is captured");
    return false;
  }
  return true;
}

std::size_t Card::memory_bytes() {
  static const char* bytes = std::getenv("PRETEND_CARD_MEMORY");
  return bytes == nullptr ? std::size_t{139} << 30 : std::strtoull(bytes, nullptr, 10);
}

void* Card::give(std::size_t bytes, bool is_device) {
  const std::lock_guard lock(mutex);
  if (is_device && used_ + bytes > memory_bytes()) {
    return nullptr;
  }
  const int rights = is_device && !is_open_ ? PROT_NONE : PROT_READ | PROT_WRITE;
  void* data = ::mmap(nullptr, whole_pages(bytes), rights,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return nullptr;
  }
  pieces_[reinterpret_cast<std::uintptr_t>(data)] = {
      .bytes = bytes, .is_device = is_device, .device = current_device()};
  if (is_device) {
    used_ += bytes;
    most_used_ = std::max(most_used_, used_);
  }
  return data;
}

bool Card::take_back(void* data, bool is_device) {
  const std::lock_guard lock(mutex);
  const auto found = pieces_.find(reinterpret_cast<std::uintptr_t>(data));
  if (found == pieces_.end() || found->second.is_device != is_device || !found->second.is_ours) {
    return false;
  }
  ::munmap(data, whole_pages(found->second.bytes));
  if (is_device) {
    used_ -= found->second.bytes;
  }
  pieces_.erase(found);
  return true;
}

void Card::enlist(void* data, std::size_t bytes) {
  const std::lock_guard lock(mutex);
  pieces_[reinterpret_cast<std::uintptr_t>(data)] = {.bytes = bytes, .is_ours = false};
}

bool Card::strike(void* data) {
  const std::lock_guard lock(mutex);
  const auto found = pieces_.find(reinterpret_cast<std::uintptr_t>(data));
  if (found == pieces_.end() || found->second.is_ours) {
    return false;
  }
  pieces_.erase(found);
  return true;
}

const Piece* Card::piece_of(const void* data, std::size_t bytes) const {
  const auto at = reinterpret_cast<std::uintptr_t>(data);
  auto next = pieces_.upper_bound(at);
  if (next == pieces_.begin()) {
    return nullptr;
  }
  const auto& [begin, piece] = *--next;
  return at + bytes <= begin + piece.bytes ? &piece : nullptr;
}

bool Card::may_touch(const void* data, std::size_t bytes, const char* call) {
  const std::lock_guard lock(mutex);
  if (piece_of(data, 1) == nullptr || piece_of(data, bytes) != nullptr) {
    return true;
  }
  fault(cudaErrorInvalidValue, std::string(call) + " beyond the end of what was allocated");
  return false;
}

cudaError_t Card::fault(cudaError_t error, const std::string& text) {
  const std::lock_guard lock(mutex);
  static std::FILE* const file = open_named_by("PRETEND_CARD_FAULTS");
  write_line(file, text);
  note("FAULT: " + text);
  faults.push_back(text);
  return answer(error);
}

cudaError_t Card::answer(cudaError_t error) {
  if (error != cudaSuccess) {
    last_error() = error;
  }
  return error;
}

void Card::note(const std::string& line) {
  static std::FILE* const file = open_named_by("PRETEND_CARD_TRACE");
  write_line(file, line);
}

}  // namespace muster::pretend
