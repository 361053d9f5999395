// SPDX-License-Identifier: Apache-2.0
#include "tests/support/fake_nccl.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "collectives/nccl/nccl_words.h"
#include "collectives/reduce/reduce.h"

namespace muster::nccl {

struct OpaqueEvent {
  std::vector<std::shared_ptr<std::atomic<bool>>> over;
};
struct OpaqueStream {
  std::vector<std::shared_ptr<std::atomic<bool>>> over;
};

}  // namespace muster::nccl

namespace muster::test {
namespace {

using nccl::Comm;
using nccl::Event;
using nccl::Result;
using nccl::Stream;
using Flag = std::shared_ptr<std::atomic<bool>>;
constexpr Result internal_error = 3;

struct Operation {
  std::vector<const void*> in;
  std::vector<void*> out;
  std::vector<Flag> over;
  int arrived = 0;
};
struct Group {
  int size = 0;
  bool is_aborted =
      false;  // by any rank: what is under way is never over, and its memory may be gone
  std::map<int, Operation> operations;
  std::map<int, std::vector<std::array<int, 3>>> splits;  // call: colour, key, rank
};

struct State {
  std::mutex mutex;
  FakeFaults faults;
  std::map<std::string, std::shared_ptr<Group>> groups;
  int ids = 0;
  /// All there ever were: watchdogs look at aborted ones.
  std::vector<std::shared_ptr<nccl::OpaqueComm>> comms;
  std::atomic<int> aborts{0};
  std::atomic<int> finalises{0};
  std::atomic<int> intrusions{0};
  std::atomic<int> late_questions{0};
  std::condition_variable graphs_gone;
  bool has_graphs = false;
};
std::unique_ptr<State> state;
thread_local FakeTrace* trace = nullptr;
thread_local nccl::OpaqueStream compute;

}  // namespace
}  // namespace muster::test

namespace muster::nccl {

struct OpaqueComm {
  std::shared_ptr<test::Group> group;
  int rank = 0;
  int operations = 0;
  int splits = 0;
  std::atomic<int> polls_in_progress{1};  // connecting takes a poll
  std::atomic<bool> is_finalising{false};
  std::atomic<bool> is_gone{false};
  std::atomic<std::thread::id> caller{};  // of the call that is in progress
};

}  // namespace muster::nccl

namespace muster::test {
namespace {

void note(FakeCall call) {
  if (trace != nullptr) {
    trace->push_back(std::move(call));
  }
}

nccl::OpaqueStream& stream_of(Stream stream) {
  return stream == nullptr ? compute : *stream;
}

std::shared_ptr<Group> group_named(const std::string& name, int size) {
  auto& group = state->groups[name];
  if (!group) {
    group = std::make_shared<Group>();
    group->size = size;
  }
  return group;
}

Comm made(std::shared_ptr<Group> group, int rank) {
  auto comm = std::make_shared<nccl::OpaqueComm>();
  comm->group = std::move(group);
  comm->rank = rank;
  state->comms.push_back(comm);
  return comm.get();
}

Result get_version(int* version) {
  *version = 22809;
  return nccl::success;
}
Result get_unique_id(nccl::UniqueId* id) {
  const std::lock_guard lock(state->mutex);
  const auto name = fmt::format("group {}", ++state->ids);
  std::memcpy(id->bytes.data(), name.c_str(), name.size() + 1);
  return nccl::success;
}

bool is_oldest_config(const nccl::Config* config) {
  return config != nullptr && config->magic == 0xcafebeef && config->version == 21800 &&
         config->size == sizeof(nccl::Config) && config->blocking == 0;
}

Result init_rank_config(Comm* comm, int ranks, nccl::UniqueId id, int rank, nccl::Config* config) {
  if (!is_oldest_config(config)) {
    return 4;
  }
  const std::lock_guard lock(state->mutex);
  *comm = made(group_named(id.bytes.data(), ranks), rank);
  note({.kind = FakeCall::Kind::lifecycle, .text = "init"});
  return nccl::in_progress;
}

Result get_async_error(Comm comm, Result* error) {
  const auto& faults = state->faults;
  state->late_questions += comm->is_gone ? 1 : 0;
  const std::thread::id caller = comm->caller;
  state->intrusions += caller != std::thread::id{} && caller != std::this_thread::get_id() ? 1 : 0;
  const bool stuck = faults.never_connects || (comm->is_finalising && faults.never_finalises);
  if (stuck || comm->polls_in_progress.fetch_sub(1) > 0) {
    *error = nccl::in_progress;
  } else if (faults.remote_error_from_operation > 0 &&
             comm->operations >= faults.remote_error_from_operation) {
    *error = nccl::remote_error;
  } else {
    *error = nccl::success;
    comm->caller = std::thread::id{};
  }
  return nccl::success;
}

Result finalize(Comm comm) {
  ++state->finalises;
  comm->is_finalising = true;
  return nccl::in_progress;
}
Result destroy(Comm /*comm*/) {
  return nccl::success;
}
Result abort_comm(Comm comm) {
  std::unique_lock lock(state->mutex);
  comm->group->is_aborted = true;
  comm->is_gone = true;
  ++state->aborts;
  state->graphs_gone.wait(lock, [] { return !state->has_graphs; });
  return nccl::success;
}
const char* error_string(Result result) {
  return result == nccl::remote_error ? "remote process exited" : "internal error";
}

const char* last_nccl_error(Comm /*comm*/) {
  return "socket: connection refused\n";
}

/// `finish` runs on the last rank that calls, on all ranks' memory.
template <class Finish>
Result enqueue(Comm comm, Stream stream, std::string text, const void* in, void* out,
               Finish finish) {
  const std::lock_guard lock(state->mutex);
  const int number = ++comm->operations;
  note({.kind = FakeCall::Kind::operation, .text = std::move(text), .stream = stream});
  if (number == state->faults.fail_operation) {
    return internal_error;
  }
  auto& group = *comm->group;
  auto& operation = group.operations[number];
  operation.in.resize(static_cast<std::size_t>(group.size));
  operation.out.resize(static_cast<std::size_t>(group.size));
  operation.in[static_cast<std::size_t>(comm->rank)] = in;
  operation.out[static_cast<std::size_t>(comm->rank)] = out;
  operation.over.push_back(std::make_shared<std::atomic<bool>>(false));
  stream_of(stream).over.push_back(operation.over.back());
  const auto& faults = state->faults;
  const bool hangs =
      group.is_aborted || (faults.hang_from_operation > 0 && number >= faults.hang_from_operation);
  if (++operation.arrived == group.size && !hangs) {
    finish(operation);
    for (const auto& over : operation.over) {
      over->store(true);
    }
    group.operations.erase(number);
  }
  if (state->faults.calls_stay_in_progress || state->faults.calls_never_settle) {
    comm->polls_in_progress = state->faults.calls_never_settle ? 1 << 30 : 2;
    comm->caller = std::this_thread::get_id();
    return nccl::in_progress;
  }
  return nccl::success;
}

DType dtype_of_word(int word) {
  for (const auto dtype : {DType::float32, DType::float64, DType::float16, DType::bfloat16,
                           DType::int32, DType::int64, DType::uint8}) {
    if (nccl::word_of(dtype) == word) {
      return dtype;
    }
  }
  return DType::uint8;
}
ReduceOp op_of_word(int word) {
  constexpr std::array ops{ReduceOp::sum, ReduceOp::sum, ReduceOp::max, ReduceOp::min,
                           ReduceOp::mean};
  return ops.at(static_cast<std::size_t>(word));
}

/// Reduces `count` elements at `offset` of all ranks' memory into memory of its own.
std::vector<std::byte> reduced(const Operation& operation, std::size_t offset, std::size_t count,
                               int dtype, int op) {
  const auto type = dtype_of_word(dtype);
  std::vector<const void*> sources;
  for (const void* in : operation.in) {
    sources.push_back(static_cast<const std::byte*>(in) + offset * size_of(type));
  }
  std::vector<std::byte> result(count * size_of(type) + 1);
  const std::array<void*, 1> to{result.data()};
  reduce(type, type, op_of_word(op), sources, to, count, static_cast<int>(sources.size()));
  result.pop_back();
  return result;
}

Result all_reduce(const void* in, void* out, std::size_t count, int dtype, int op, Comm comm,
                  Stream stream) {
  return enqueue(comm, stream, fmt::format("all_reduce {} type {} op {}", count, dtype, op), in,
                 out, [=](Operation& operation) {
                   const auto result = reduced(operation, 0, count, dtype, op);
                   for (void* to : operation.out) {
                     std::copy(result.begin(), result.end(), static_cast<std::byte*>(to));
                   }
                 });
}

Result reduce_scatter(const void* in, void* out, std::size_t count, int dtype, int op, Comm comm,
                      Stream stream) {
  return enqueue(comm, stream, fmt::format("reduce_scatter {} type {} op {}", count, dtype, op), in,
                 out, [=](Operation& operation) {
                   std::vector<std::vector<std::byte>> results;
                   for (std::size_t rank = 0; rank < operation.out.size(); ++rank) {
                     results.push_back(reduced(operation, rank * count, count, dtype, op));
                   }
                   for (std::size_t rank = 0; rank < results.size(); ++rank) {
                     std::copy(results[rank].begin(), results[rank].end(),
                               static_cast<std::byte*>(operation.out[rank]));
                   }
                 });
}

Result all_gather(const void* in, void* out, std::size_t count, int dtype, Comm comm,
                  Stream stream) {
  return enqueue(comm, stream, fmt::format("all_gather {} type {}", count, dtype), in, out,
                 [=](Operation& operation) {
                   const std::size_t bytes = count * size_of(dtype_of_word(dtype));
                   for (void* to : operation.out) {
                     for (std::size_t rank = 0; rank < operation.in.size(); ++rank) {
                       std::memmove(static_cast<std::byte*>(to) + rank * bytes, operation.in[rank],
                                    bytes);
                     }
                   }
                 });
}

Result broadcast(const void* in, void* out, std::size_t count, int dtype, int root, Comm comm,
                 Stream stream) {
  return enqueue(comm, stream, fmt::format("broadcast {} type {} root {}", count, dtype, root), in,
                 out, [=](Operation& operation) {
                   for (void* to : operation.out) {
                     if (count > 0) {
                       std::memmove(to, operation.in[static_cast<std::size_t>(root)],
                                    count * size_of(dtype_of_word(dtype)));
                     }
                   }
                 });
}

Result group_edge() {
  return nccl::success;
}

/// Waits for all ranks, as the real one does.
Result split(Comm comm, int colour, int key, Comm* part, nccl::Config* config) {
  if (!is_oldest_config(config)) {
    return 4;
  }
  auto& group = *comm->group;
  const int call = ++comm->splits;
  const auto all_here = [&] {
    const std::lock_guard lock(state->mutex);
    return static_cast<int>(group.splits[call].size()) == group.size;
  };
  {
    const std::lock_guard lock(state->mutex);
    group.splits[call].push_back({colour, key, comm->rank});
  }
  while (!all_here()) {
    std::this_thread::yield();
  }
  const std::lock_guard lock(state->mutex);
  std::vector<std::array<int, 2>> members;
  for (const auto& [its_colour, its_key, rank] : group.splits[call]) {
    if (its_colour == colour) {
      members.push_back({its_key, rank});
    }
  }
  std::sort(members.begin(), members.end());
  if (colour < 0) {
    *part = nullptr;
    return nccl::success;
  }
  const auto mine = std::find(members.begin(), members.end(), std::array<int, 2>{key, comm->rank});
  const auto name =
      fmt::format("{} split {} colour {}", static_cast<void*>(comm->group.get()), call, colour);
  *part = made(group_named(name, static_cast<int>(members.size())),
               static_cast<int>(mine - members.begin()));
  return nccl::success;
}

Result register_buffer(Comm /*comm*/, void* data, std::size_t /*bytes*/, void** handle) {
  *handle = data;
  note({.kind = FakeCall::Kind::lifecycle, .text = "register"});
  return nccl::success;
}
Result deregister_buffer(Comm /*comm*/, void* /*handle*/) {
  note({.kind = FakeCall::Kind::lifecycle, .text = "deregister"});
  return nccl::success;
}

Result shrink(Comm comm, int* excluded, int count, Comm* rest, nccl::Config* config,
              int /*flags*/) {
  if (!is_oldest_config(config)) {
    return 4;
  }
  const std::lock_guard lock(state->mutex);
  int below = 0;
  std::string name = fmt::format("{} without", static_cast<void*>(comm->group.get()));
  for (int i = 0; i < count; ++i) {
    below += excluded[i] < comm->rank ? 1 : 0;
    name += fmt::format(" {}", excluded[i]);
  }
  *rest = made(group_named(name, comm->group->size - count), comm->rank - below);
  return nccl::success;
}

int set_device(int /*device*/) {
  return 0;
}
int pci_bus_id(char* text, int length, int device) {
  static std::atomic<int> cards{0};
  const int card = state->faults.one_gpu_for_all ? device : cards++;
  fmt::format_to_n(text, static_cast<std::size_t>(length), "0000:{:02x}:00.0", card & 0xff);
  return 0;
}
int stream_create(Stream* stream, unsigned /*flags*/, int priority) {
  *stream = new nccl::OpaqueStream;
  note({.kind = FakeCall::Kind::lifecycle, .text = fmt::format("stream priority {}", priority)});
  return 0;
}
int stream_destroy(Stream stream) {
  delete stream;
  return 0;
}
int stream_wait_event(Stream stream, Event event, unsigned /*flags*/) {
  const std::lock_guard lock(state->mutex);
  auto& over = stream_of(stream).over;
  over.insert(over.end(), event->over.begin(), event->over.end());
  note({.kind = FakeCall::Kind::wait, .text = "wait", .event = event, .stream = stream});
  return 0;
}
int event_create(Event* event, unsigned /*flags*/) {
  *event = new nccl::OpaqueEvent;
  return 0;
}
int event_destroy(Event event) {
  delete event;
  return 0;
}
int event_record(Event event, Stream stream) {
  const std::lock_guard lock(state->mutex);
  auto& over = stream_of(stream).over;
  std::erase_if(over, [](const Flag& flag) { return flag->load(); });
  event->over = over;
  note({.kind = FakeCall::Kind::record, .text = "record", .event = event, .stream = stream});
  return 0;
}
thread_local int remembered_error = 0;
int event_query(Event event) {
  const std::lock_guard lock(state->mutex);
  const bool over = std::all_of(event->over.begin(), event->over.end(),
                                [](const Flag& flag) { return flag->load(); });
  const int answer = over ? 0 : nccl::CudaTable::not_ready;
  if (answer != 0) {
    remembered_error = answer;
  }
  return answer;
}
int last_error() {
  return std::exchange(remembered_error, 0);
}
int priority_range(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return 0;
}
int device_count(int* count) {
  *count = state->faults.one_gpu_for_all ? 1 : 4;
  return 0;
}
int allocate(void** data, std::size_t bytes) {
  *data = ::operator new(bytes);
  return 0;
}
int free_memory(void* data) {
  ::operator delete(data);
  return 0;
}
int stream_synchronize(Stream stream) {
  for (const auto& over : stream_of(stream).over) {
    while (!over->load()) {
      std::this_thread::yield();
    }
  }
  stream_of(stream).over.clear();
  return 0;
}
/// In the order of the stream.
int copy_async(void* to, const void* from, std::size_t bytes, int /*direction*/, Stream stream) {
  stream_synchronize(stream);
  std::memcpy(to, from, bytes);
  return 0;
}
const char* cuda_error_string(int /*error*/) {
  return "fake error";
}

}  // namespace

FakeNccl::FakeNccl(FakeFaults faults) {
  state = std::make_unique<State>();
  state->faults = faults;
  state->has_graphs = faults.graphs_hold_operations;
}
FakeNccl::~FakeNccl() {
  state.reset();
}

nccl::NcclTable FakeNccl::nccl_table() {
  return {.get_version = get_version,
          .get_unique_id = get_unique_id,
          .init_rank_config = init_rank_config,
          .get_async_error = get_async_error,
          .finalize = finalize,
          .destroy = destroy,
          .abort = abort_comm,
          .error_string = error_string,
          .all_reduce = all_reduce,
          .reduce_scatter = reduce_scatter,
          .all_gather = all_gather,
          .broadcast = broadcast,
          .group_start = group_edge,
          .group_end = group_edge,
          .split = split,
          .register_buffer = register_buffer,
          .deregister_buffer = deregister_buffer,
          .last_error = last_nccl_error,
          .shrink = shrink};
}

nccl::CudaTable FakeNccl::cuda_table() {
  return {.set_device = set_device,
          .pci_bus_id = pci_bus_id,
          .stream_create = stream_create,
          .stream_destroy = stream_destroy,
          .stream_wait_event = stream_wait_event,
          .event_create = event_create,
          .event_destroy = event_destroy,
          .event_record = event_record,
          .event_query = event_query,
          .last_error = last_error,
          .priority_range = priority_range,
          .device_count = device_count,
          .allocate = allocate,
          .free = free_memory,
          .copy_async = copy_async,
          .stream_synchronize = stream_synchronize,
          .error_string = cuda_error_string};
}

void FakeNccl::trace_into(FakeTrace* into) {
  trace = into;
}

void FakeNccl::synchronise() {
  stream_synchronize(nullptr);
}

int FakeNccl::intrusions() const {
  return state->intrusions;
}

void FakeNccl::drop_graphs() {
  const std::lock_guard lock(state->mutex);
  state->has_graphs = false;
  state->graphs_gone.notify_all();
}

int FakeNccl::late_questions() const {
  return state->late_questions;
}

int FakeNccl::aborts() const {
  return state->aborts;
}
int FakeNccl::finalises() const {
  return state->finalises;
}

}  // namespace muster::test
