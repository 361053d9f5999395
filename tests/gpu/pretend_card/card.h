/// Card: a CUDA device that is not there. The runtime beside it (libcudart.so.13 for whom it is
/// preloaded) keeps its memory on the host, in pages that cost nothing until they are touched, runs
/// what it is given in the order of the calls, and holds the caller to the rules of captures,
/// queues and launches. Kernels of libtorch and of NVIDIA's libraries compute nothing; ours do
/// (emulation.h).
///
/// A rule that was broken is an answer as the card's and a line in `faults`, and in the file that
/// PRETEND_CARD_FAULTS names. PRETEND_CARD_TRACE names one for all that happens, in order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace muster::pretend {

struct Queue;

/// What a captured call will do when its graph is played, and behind which others.
struct Step {
  std::string what;
  std::function<void()> work;
  std::set<std::size_t> after;
};

/// cudaGraph_t.
struct Recording {
  std::vector<Step> steps;
};

struct Capture {
  unsigned long long id = 0;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  Queue* origin = nullptr;
  bool is_broken = false;
  Recording recording;
  std::set<Queue*> queues;
};

/// cudaStream_t.
struct Queue {
  std::uint64_t number = 0;  // 0 is the legacy default
  bool is_blocking = false;
  std::shared_ptr<Capture> capture;
  std::set<std::size_t> tail;  // of the capture
};

/// cudaEvent_t.
struct Mark {
  std::weak_ptr<Capture> capture;
  bool was_captured = false;
  std::set<std::size_t> tail;
  double seconds = 0;
};

/// Memory that this runtime has given out.
struct Piece {
  std::size_t bytes = 0;
  bool is_device = false;
  int device = 0;
};

class Card {
 public:
  /// PRETEND_CARD_MEMORY bytes, or 139 GiB.
  static std::size_t memory_bytes();

  std::recursive_mutex mutex;

  /// The queue behind a handle; null and a fault where it is none, or gone.
  Queue* queue_of(cudaStream_t stream, const char* call);
  Queue* open_queue(bool is_blocking);
  bool close_queue(cudaStream_t stream);

  Mark* open_mark();
  bool close_mark(cudaEvent_t event);
  Mark* mark_of(cudaEvent_t event, const char* call);

  /// Queues `work`: it runs at once, or is recorded where the queue is being captured.
  cudaError_t add(cudaStream_t stream, const std::string& what, std::function<void()> work);

  /// Whether the calling thread may make a call that a capture forbids, as its mode says.
  bool may_be_unsafe(const char* call);
  /// As after a fault of a kernel: everything is refused. In the process that finds and takes away
  /// the file that PRETEND_CARD_BREAKS names when it has queued 500 pieces of work.
  bool is_lost() const { return is_lost_; }
  /// A call that a queue under capture breaks on.
  bool may_wait(Queue* queue, const char* call);

  void* give(std::size_t bytes, bool is_device);
  bool take_back(void* data, bool is_device);
  /// The piece that has all of these bytes, or null.
  const Piece* piece_of(const void* data, std::size_t bytes) const;
  /// False, and a fault, where they begin in a piece of ours and run out of it.
  bool may_touch(const void* data, std::size_t bytes, const char* call);
  std::size_t used() const { return used_; }
  std::size_t most_used() const { return most_used_; }

  cudaError_t fault(cudaError_t error, const std::string& text);
  cudaError_t answer(cudaError_t error);  ///< and remembers it for cudaGetLastError
  void note(const std::string& line);     ///< into the trace, where one is asked for
  std::vector<std::string> faults;
  std::map<std::string, std::uint64_t> counts;  // of what was queued and played

  std::map<std::thread::id, std::shared_ptr<Capture>> capturing;  // by the thread that began
  unsigned long long next_capture = 1;

 private:
  std::set<Queue*> queues_;
  std::set<Mark*> marks_;
  std::map<std::uintptr_t, Piece> pieces_;
  std::uint64_t next_queue_ = 1;
  std::uint64_t queued_ = 0;
  bool is_lost_ = false;
  std::size_t used_ = 0;
  std::size_t most_used_ = 0;
};

Card& card();
cudaError_t& last_error();  // of the calling thread
int& current_device();      // likewise

}  // namespace muster::pretend
