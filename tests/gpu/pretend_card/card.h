/// Card: a CUDA device that is not there. The runtime beside it (libcudart.so.13 for whom it is
/// preloaded) keeps its memory on the host, in pages that cost nothing until they are touched and
/// that the host may not touch, does what a queue is given when that queue comes to it (line.h),
/// and holds the caller to the rules of captures, queues and launches. Kernels of libtorch and of
/// NVIDIA's libraries compute nothing; ours do (emulation.h).
///
/// A rule that was broken is an answer as the card's and a line in `faults`, and in the file that
/// PRETEND_CARD_FAULTS names. PRETEND_CARD_TRACE names one for all that happens, in order.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/gpu/pretend_card/line.h"

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

  /// The steps in an order of `random`'s that keeps each behind those that it comes after.
  std::vector<const Step*> some_order(std::minstd_rand& random) const;
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
  std::shared_ptr<Line> line;
};

/// cudaEvent_t.
struct Mark {
  std::weak_ptr<Capture> capture;
  bool was_captured = false;
  std::set<std::size_t> tail;
  Place place;  // where it was recorded last, if it was
  std::shared_ptr<std::atomic<double>> seconds;
};

/// Memory that this runtime has given out, or that was registered with it.
struct Piece {
  std::size_t bytes = 0;
  bool is_device = false;
  bool is_ours = true;
  int device = 0;
};

class Card {
 public:
  Card();
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

  /// Queues `work`, or records it where the queue is being captured.
  cudaError_t add(cudaStream_t stream, const std::string& what, std::function<void()> work);
  /// Between these a line does its work: only then is there memory of the card to touch.
  void open_memory();
  void close_memory();
  /// Where all queues end now. Not to be waited for under the mutex.
  std::vector<Place> ends();

  /// Whether the calling thread may make a call that a capture forbids, as its mode says.
  bool may_be_unsafe(const char* call);
  /// A call that all captures of the card break on, whatever their mode.
  bool may_wait_for_all(const char* call);
  /// As after a fault of a kernel: nothing is done any more and everything is refused. In the
  /// process that finds and takes away the file that PRETEND_CARD_BREAKS names when its queues have
  /// done 500 pieces of work.
  bool is_lost() const { return is_lost_; }
  /// A call that a queue under capture breaks on.
  bool may_wait(Queue* queue, const char* call);

  void* give(std::size_t bytes, bool is_device);
  bool take_back(void* data, bool is_device);
  void enlist(void* data, std::size_t bytes);  ///< memory of the host's own, as pinned
  bool strike(void* data);
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
  void run(const std::function<void()>& work);
  void protect(int rights);
  void follow_default_queue(const Queue& queue);

  Queue legacy_;
  std::set<Queue*> queues_;
  std::set<Mark*> marks_;
  std::map<std::uintptr_t, Piece> pieces_;
  std::uint64_t next_queue_ = 1;
  std::atomic<std::uint64_t> done_ = 0;
  std::atomic<bool> is_lost_ = false;
  int at_work_ = 0;  // lines
  bool is_open_ = false;
  std::size_t used_ = 0;
  std::size_t most_used_ = 0;
};

Card& card();
cudaError_t& last_error();  // of the calling thread
int& current_device();      // likewise

}  // namespace muster::pretend
