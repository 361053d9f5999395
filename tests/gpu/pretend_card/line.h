/// Line: what a queue of the pretended card has still to do. A thread of its own does it, in the
/// order in which it came, and now and then later than it could: no order but the one that queues
/// and events give is kept, so that a missing one is a wrong result. PRETEND_CARD_SEED says when it
/// is late; without it, chance does.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>

namespace muster::pretend {

class Line;

/// A place in a line: reached when that many pieces of work are done.
struct Place {
  std::shared_ptr<Line> line;
  std::uint64_t number = 0;

  bool is_reached() const;
  void want() const;  ///< somebody waits: no longer late
  void wait() const;  ///< blocks
};

class Line : public std::enable_shared_from_this<Line> {
 public:
  static std::shared_ptr<Line> make(std::uint64_t number);
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;

  /// Waits while the line is as long as the card's get.
  void wait_for_room();
  void add(std::function<void()> work);
  void add_wait(const Place& place);
  Place end();
  /// What was added is done, and then the thread ends.
  void close();

  static std::uint64_t seed();

 private:
  friend struct Place;
  struct Work {
    std::function<void()> work;
    std::optional<Place> before;
  };
  explicit Line(std::uint64_t number);
  void add(Work work);
  void do_all();
  void be_late(std::unique_lock<std::mutex>& lock);
  void work();
  void rest(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> work_;
  std::uint64_t added_ = 0;
  std::uint64_t done_ = 0;
  std::uint64_t wanted_ = 0;
  std::uint64_t pieces_left_ = 0;  // of a stretch that is late, or is not
  bool is_late_ = false;
  bool has_thread_ = false;
  bool is_at_work_ = false;
  bool is_closed_ = false;
  std::minstd_rand random_;
};

}  // namespace muster::pretend
