// SPDX-License-Identifier: Apache-2.0
#include "collectives/nccl/nccl_communicator.h"

#include <fmt/format.h>

#include <vector>

#include "collectives/nccl/nccl_words.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

using SteadyClock = std::chrono::steady_clock;
using nccl::word_of;

constexpr unsigned not_blocking_stream = 1;  // cudaStreamNonBlocking
constexpr unsigned no_timing = 2;            // cudaEventDisableTiming

void check_device(const Buffer& buffer, int device) {
  const bool holds = buffer.device == Device{.kind = Device::Kind::cuda, .index = device};
  require(
      holds,
      "NCCL works on memory of this rank's GPU; memory of the host goes through the host group");
}

}  // namespace

/// Waiting for it orders the compute stream after the operation.
class NcclCommunicator::Ordered final : public Work::State {
 public:
  Ordered(NcclCommunicator& comm, nccl::Event done) : comm_(comm), done_(done) {}
  void wait() override {
    release();  // used again by this thread at the earliest, which is here
    comm_.check_alive();
    comm_.check_cuda(comm_.cuda_.stream_wait_event(comm_.options_.compute, done_, 0),
                     "cudaStreamWaitEvent");
  }
  bool done() override {
    comm_.check_alive();
    return comm_.cuda_.is_over(done_);
  }
  void dropped() noexcept override {
    release();
    log::error("the work of an operation was dropped: every Work must be waited for");
    comm_.abort("the work of an operation was dropped: every Work must be waited for");
  }

 private:
  void release() {
    const std::lock_guard lock(comm_.mutex_);
    comm_.free_.push_back(done_);
  }
  NcclCommunicator& comm_;
  nccl::Event done_;
};

NcclCommunicator::NcclCommunicator(const nccl::NcclTable& table, const nccl::CudaTable& cuda,
                                   Communicator& host, NcclOptions options, RankSlot* flight)
    : table_(table), cuda_(cuda), host_(host), options_(options), flight_(flight) {
  check_cuda(cuda_.set_device(options_.device), fmt::format("cudaSetDevice({})", options_.device));
  refuse_shared_gpus();
  connect();
  open_streams();
}

NcclCommunicator::NcclCommunicator(const NcclCommunicator& parent, nccl::Comm comm,
                                   Communicator& host, std::unique_ptr<Communicator> owned)
    : table_(parent.table_),
      cuda_(parent.cuda_),
      owned_host_(std::move(owned)),
      host_(host),
      options_(parent.options_),
      flight_(parent.flight_),
      comm_(comm) {
  settle("making a part of the group");
  open_streams();
}

void NcclCommunicator::open_streams() {
  int least = 0;
  int greatest = 0;
  check_cuda(cuda_.priority_range(&least, &greatest), "cudaDeviceGetStreamPriorityRange");
  check_cuda(cuda_.stream_create(&stream_, not_blocking_stream, greatest),
             "cudaStreamCreateWithPriority");
  watchdog_ = std::jthread([this](const std::stop_token& stop) { watch(stop); });
}

NcclCommunicator::~NcclCommunicator() {
  close();
}

nccl::Event NcclCommunicator::new_event() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto* event = free_.back();
      free_.pop_back();
      return event;
    }
  }
  nccl::Event event = nullptr;
  check_cuda(cuda_.event_create(&event, no_timing), "cudaEventCreateWithFlags");
  const std::lock_guard lock(mutex_);
  made_.push_back(event);
  return event;
}

/// Both edges: the operation waits for what compute has queued, and whoever waits for the work lets
/// compute wait for the operation.
template <class Call>
Work NcclCommunicator::issue(std::string_view name, const Buffer& buffer, Call&& call) {
  check_alive();
  check_device(buffer, options_.device);
  ++operations_;
  const auto what = fmt::format("{} of {} {} (operation {})", name, buffer.count,
                                name_of(buffer.dtype), operations_);
  auto* ready = new_event();
  check_cuda(cuda_.event_record(ready, options_.compute), "cudaEventRecord");
  check_cuda(cuda_.stream_wait_event(stream_, ready, 0), "cudaStreamWaitEvent");
  {
    const std::lock_guard one(calls_);
    const auto result = call();
    if (result == nccl::in_progress) {
      settle(what);
    } else {
      check(result, what);
    }
  }
  auto* done = new_event();
  check_cuda(cuda_.event_record(done, stream_), "cudaEventRecord");
  if (is_capturing_) {
    const std::lock_guard lock(mutex_);
    free_.push_back(ready);
    return Work(std::make_unique<Ordered>(*this, done));
  }
  auto* over =
      new_event();  // the watchdog's own: the caller's may be used again before it has looked
  check_cuda(cuda_.event_record(over, stream_), "cudaEventRecord");
  auto* entry = begin_flight(flight_, name, buffer.bytes());
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(ready);
    pending_.push_back({.what = what,
                        .done = over,
                        .deadline = SteadyClock::now() + options_.deadline,
                        .flight = entry});
  }
  changed_.notify_all();
  return Work(std::make_unique<Ordered>(*this, done));
}

Work NcclCommunicator::all_reduce(Buffer buffer, ReduceOp op) {
  return issue("all_reduce", buffer, [&] {
    return table_.all_reduce(buffer.data, buffer.data, buffer.count, word_of(buffer.dtype),
                             word_of(op), comm_, stream_);
  });
}

Work NcclCommunicator::reduce_scatter(Buffer in, Buffer out, ReduceOp op) {
  require(out.count * static_cast<std::size_t>(size()) == in.count && in.dtype == out.dtype,
          "the parts make the whole");
  return issue("reduce_scatter", in, [&] {
    return table_.reduce_scatter(in.data, out.data, out.count, word_of(in.dtype), word_of(op),
                                 comm_, stream_);
  });
}

Work NcclCommunicator::all_gather(Buffer in, Buffer out) {
  require(in.count * static_cast<std::size_t>(size()) == out.count && in.dtype == out.dtype,
          "the parts make the whole");
  return issue("all_gather", in, [&] {
    return table_.all_gather(in.data, out.data, in.count, word_of(in.dtype), comm_, stream_);
  });
}

Work NcclCommunicator::broadcast(Buffer buffer, int root) {
  require(root >= 0 && root < size(), "the root of a broadcast is a rank of the group");
  return issue("broadcast", buffer, [&] {
    return table_.broadcast(buffer.data, buffer.data, buffer.count, word_of(buffer.dtype), root,
                            comm_, stream_);
  });
}

void NcclCommunicator::barrier() {
  if (!drain(options_.deadline)) {  // the watchdog may not have looked yet
    if (const auto sentence = trouble(); !sentence.empty()) {
      fail(sentence);
    }
  }
  check_alive();
  host_.barrier();
}

std::unique_ptr<Communicator> NcclCommunicator::split(int colour, int key) {
  check_alive();
  auto part = host_.split(colour, key);
  if (table_.split == nullptr) {  // a group made anew costs a second more and does the same
    if (!part) {
      return nullptr;
    }
    auto anew = std::make_unique<NcclCommunicator>(table_, cuda_, *part, options_, flight_);
    anew->owned_host_ = std::move(part);
    return anew;
  }
  nccl::Config config;
  config.blocking = 0;
  nccl::Comm comm = nullptr;
  std::unique_lock one(calls_);
  const auto result = table_.split(comm_, colour < 0 ? -1 : colour, key, &comm, &config);
  if (result == nccl::in_progress) {
    settle("ncclCommSplit");
  } else {
    check(result, "ncclCommSplit");
  }
  one.unlock();
  if (!part) {
    return nullptr;
  }
  auto& host = *part;
  return std::unique_ptr<NcclCommunicator>(
      new NcclCommunicator(*this, comm, host, std::move(part)));
}

std::unique_ptr<NcclCommunicator> NcclCommunicator::without(std::span<const int> ranks,
                                                            Communicator& host) {
  if (table_.shrink == nullptr) {
    return std::make_unique<NcclCommunicator>(table_, cuda_, host, options_, flight_);
  }
  std::vector<int> excluded(ranks.begin(), ranks.end());
  nccl::Config config;
  config.blocking = 0;
  nccl::Comm comm = nullptr;
  constexpr int abort_what_is_under_way = 1;
  const auto result = table_.shrink(comm_, excluded.data(), static_cast<int>(excluded.size()),
                                    &comm, &config, abort_what_is_under_way);
  if (result != nccl::in_progress) {
    check(result, "ncclCommShrink");
  }
  return std::unique_ptr<NcclCommunicator>(new NcclCommunicator(*this, comm, host, nullptr));
}

bool NcclCommunicator::register_buffer(const Buffer& buffer) {
  void* handle = nullptr;
  if (table_.register_buffer == nullptr ||
      table_.register_buffer(comm_, buffer.data, buffer.bytes(), &handle) != nccl::success) {
    return false;
  }
  registered_.push_back(handle);
  return true;
}

}  // namespace muster
