// SPDX-License-Identifier: Apache-2.0
#include "collectives/nccl/nccl_communicator.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "collectives/nccl/nccl_words.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

using SteadyClock = std::chrono::steady_clock;
using nccl::word_of;
using std::chrono::milliseconds;

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
    return comm_.cuda_.event_query(done_) == 0;
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
  settle(comm_, "making a part of the group");
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

/// NCCL's own words for this send people looking in the wrong place.
void NcclCommunicator::refuse_shared_gpus() {
  struct Card {
    std::array<char, 64> machine{};
    std::array<char, 32> bus{};
  };
  Card mine;
  ::gethostname(mine.machine.data(), mine.machine.size() - 1);
  if (const char* named =
          std::getenv("NCCL_HOSTID")) {  // NCCL itself goes by it: tests on one card
    std::strncpy(mine.machine.data(), named, mine.machine.size() - 1);
  }
  check_cuda(cuda_.pci_bus_id(mine.bus.data(), static_cast<int>(mine.bus.size()), options_.device),
             "cudaDeviceGetPCIBusId");
  std::vector<Card> cards(static_cast<std::size_t>(size()));
  host_
      .all_gather(
          {.data = &mine, .count = sizeof mine, .dtype = DType::uint8},
          {.data = cards.data(), .count = cards.size() * sizeof(Card), .dtype = DType::uint8})
      .wait();
  for (std::size_t a = 0; a < cards.size(); ++a) {
    for (std::size_t b = a + 1; b < cards.size(); ++b) {
      if (cards[a].machine == cards[b].machine && cards[a].bus == cards[b].bus) {
        throw Error(Fault::bad_input,
                    fmt::format("ranks {} and {} both use GPU {} of {}: start one rank for each "
                                "GPU, or give each its own "
                                "with CUDA_VISIBLE_DEVICES",
                                a, b, cards[a].bus.data(), cards[a].machine.data()));
      }
    }
  }
}

void NcclCommunicator::connect() {
  int version = 0;
  check(table_.get_version(&version), "ncclGetVersion");
  if (version < nccl::Config::oldest_version) {
    throw Error(
        Fault::io,
        fmt::format("NCCL {} is older than the oldest that Muster supports, 2.18", version));
  }
  nccl::UniqueId id;
  if (rank() == 0) {
    check(table_.get_unique_id(&id), "ncclGetUniqueId");
  }
  host_.broadcast({.data = id.bytes.data(), .count = id.bytes.size(), .dtype = DType::uint8}, 0)
      .wait();
  nccl::Config config;
  config.blocking = 0;
  const auto result = table_.init_rank_config(&comm_, size(), id, rank(), &config);
  if (result != nccl::in_progress) {
    check(result, "ncclCommInitRankConfig");
  }
  settle(comm_, fmt::format("connecting {} ranks", size()));
}

/// Calls on a non-blocking communicator are over when it no longer says "in progress".
void NcclCommunicator::settle(nccl::Comm comm, std::string_view what) {
  const auto give_up = SteadyClock::now() + options_.start_deadline;
  auto state = nccl::in_progress;
  while (true) {
    check(table_.get_async_error(comm, &state), "ncclCommGetAsyncError");
    if (state != nccl::in_progress) {
      break;
    }
    if (SteadyClock::now() > give_up) {
      table_.abort(comm);
      is_aborted_ = true;
      const auto sentence =
          fmt::format("NCCL: {} took longer than {} s on rank {}", what,
                      std::chrono::duration<double>(options_.start_deadline).count(), rank());
      host_.abort(sentence);
      throw Error(Fault::communication, sentence);
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
  check(state, what);
}

void NcclCommunicator::check(nccl::Result result, std::string_view what) {
  if (result != nccl::success) [[unlikely]] {
    const auto sentence =
        fmt::format("{} on rank {}: {}", what, rank(), table_.error_string(result));
    fail(sentence);
    throw Error(Fault::communication, sentence);
  }
}

void NcclCommunicator::check_cuda(int error, std::string_view what) {
  if (error != 0) [[unlikely]] {
    throw Error(Fault::communication,
                fmt::format("{} on rank {}: {}", what, rank(), cuda_.error_string(error)));
  }
}

void NcclCommunicator::check_alive() {
  const std::lock_guard lock(mutex_);
  if (!failure_.empty()) {
    throw Error(Fault::communication, failure_);
  }
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
  const auto result = call();
  if (result == nccl::in_progress) {
    settle(comm_, what);
  } else {
    check(result, what);
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
  const auto result = table_.split(comm_, colour < 0 ? -1 : colour, key, &comm, &config);
  if (result == nccl::in_progress) {
    settle(comm_, "ncclCommSplit");
  } else {
    check(result, "ncclCommSplit");
  }
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

void NcclCommunicator::abort(std::string_view why) noexcept {
  try {
    fail(fmt::format("rank {} aborted: {}", rank(), why));
  } catch (...) {
    log::error("abort: out of memory");
  }
}

/// The first sentence wins. Everybody's NCCL must be aborted, ours here and theirs by their own
/// watchdogs, which the host group tells.
void NcclCommunicator::fail(const std::string& sentence) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) {
      return;
    }
    failure_ = sentence;
  }
  log::error(sentence);
  if (comm_ != nullptr && !is_aborted_.exchange(true)) {
    table_.abort(comm_);
  }
  host_.abort(sentence);
}

void NcclCommunicator::watch(const std::stop_token& stop) {
  cuda_.set_device(options_.device);
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, options_.look_every, [] { return false; });
      if (!failure_.empty()) {
        return;
      }
    }
    retire();
    if (const auto sentence = trouble(); !sentence.empty()) {
      fail(sentence);
      return;
    }
  }
}

/// Operations end in the order in which they began.
void NcclCommunicator::retire() {
  const std::lock_guard lock(mutex_);
  while (!pending_.empty() && cuda_.event_query(pending_.front().done) == 0) {
    end_flight(pending_.front().flight);
    free_.push_back(pending_.front().done);
    pending_.pop_front();
  }
  changed_.notify_all();
}

std::string NcclCommunicator::trouble() {
  if (options_.trouble_elsewhere) {
    if (auto sentence = options_.trouble_elsewhere(); !sentence.empty()) {
      return sentence;
    }
  }
  auto state = nccl::success;
  table_.get_async_error(comm_, &state);
  const std::lock_guard lock(mutex_);
  const auto what = pending_.empty() ? "no operation under way" : pending_.front().what;
  if (state != nccl::success && state != nccl::in_progress) {
    return fmt::format("NCCL on rank {}, {}: {}", rank(), what, table_.error_string(state));
  }
  if (!pending_.empty() && SteadyClock::now() > pending_.front().deadline) {
    return fmt::format(
        "{} was not over within {} s on rank {}: another rank has not called it, or is gone", what,
        std::chrono::duration<double>(options_.deadline).count(), rank());
  }
  return {};
}

bool NcclCommunicator::drain(milliseconds at_most) {
  const auto give_up = SteadyClock::now() + at_most;
  while (SteadyClock::now() < give_up) {
    retire();
    const std::lock_guard lock(mutex_);
    if (pending_.empty() || !failure_.empty()) {
      return failure_.empty();
    }
    std::this_thread::yield();
  }
  return false;
}

void NcclCommunicator::close() noexcept {
  const bool drained = drain(options_.start_deadline);
  watchdog_ = {};
  try {
    for (void* handle : registered_) {
      table_.deregister_buffer(comm_, handle);
    }
    if (!is_aborted_ && drained) {
      const auto result = table_.finalize(comm_);
      if (result != nccl::in_progress) {
        check(result, "ncclCommFinalize");
      }
      settle(comm_, "closing");
      table_.destroy(comm_);
    } else if (!is_aborted_.exchange(true)) {
      table_.abort(comm_);
    }
  } catch (const std::exception& error) {
    log::warning(fmt::format("closing NCCL: {}", report(error)));
  }
  for (const auto& pending : pending_) {
    free_.push_back(pending.done);
  }
  for (auto* event : free_) {
    cuda_.event_destroy(event);
  }
  if (stream_ != nullptr) {
    cuda_.stream_destroy(stream_);
  }
}

}  // namespace muster
