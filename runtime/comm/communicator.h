/// Communicator: a fixed group of ranks that reduce, broadcast and wait together.
/// Every rank calls the same operations in the same order with equal counts and types. Not
/// thread-safe, but for abort().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "runtime/comm/buffer.h"

namespace muster {

/// Work: an operation under way. Wait for it before touching its buffers. Dropping it unwaited is a
/// bug: the destructor says so and marks the communicator broken; it never waits.
class [[nodiscard]] Work {
 public:
  class State {
   public:
    virtual ~State() = default;
    virtual void wait() = 0;  ///< blocks until done; throws Error(communication)
    virtual bool done() = 0;
    virtual void dropped() noexcept = 0;
  };
  Work() = default;  ///< already finished
  explicit Work(std::unique_ptr<State> state) : state_(std::move(state)) {}
  Work(Work&&) noexcept = default;
  Work& operator=(Work&& other) noexcept {
    if (state_) {
      state_->dropped();
    }
    state_ = std::move(other.state_);
    return *this;
  }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  ~Work() {
    if (state_) {
      state_->dropped();
    }
  }
  void wait() {
    if (auto state = std::move(state_)) {
      state->wait();
    }
  }
  bool done() { return !state_ || state_->done(); }

 private:
  std::unique_ptr<State> state_;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const noexcept = 0;
  virtual int size() const noexcept = 0;
  virtual int local_rank() const noexcept = 0;  ///< among the ranks of this machine
  virtual int local_size() const noexcept = 0;

  virtual Work all_reduce(Buffer buffer, ReduceOp op) = 0;  ///< in place
  /// `out.count * size() == in.count`; rank r gets the reduced r-th part. `out` may be that part of
  /// `in`.
  virtual Work reduce_scatter(Buffer in, Buffer out, ReduceOp op) = 0;
  /// `in.count * size() == out.count`. `in` may be this rank's part of `out`.
  virtual Work all_gather(Buffer in, Buffer out) = 0;
  virtual Work broadcast(Buffer buffer, int root) = 0;
  virtual void barrier() = 0;

  /// Subgroups: ranks that give the same colour meet, ordered by key, then by rank. Collective. A
  /// negative colour joins none (null).
  virtual std::unique_ptr<Communicator> split(int colour, int key) = 0;
  /// Unblocks the other ranks: their operations throw Error(communication) with `why` and this
  /// rank. Callable from any thread.
  virtual void abort(std::string_view why) noexcept = 0;
};

/// A group of one: every operation is the identity.
std::unique_ptr<Communicator> solo_communicator();

}  // namespace muster
