// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/pretend_card/line.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include "tests/gpu/pretend_card/card.h"

namespace muster::pretend {
namespace {

constexpr std::uint64_t longest_line = 1024;
constexpr std::uint64_t longest_stretch = 24;
constexpr auto most_late = std::chrono::milliseconds(2);

}  // namespace

bool Place::is_reached() const {
  if (!line) {
    return true;
  }
  const std::lock_guard lock(line->mutex_);
  return line->done_ >= number;
}

void Place::want() const {
  if (!line) {
    return;
  }
  const std::lock_guard lock(line->mutex_);
  line->wanted_ = std::max(line->wanted_, number);
  line->changed_.notify_all();
}

void Place::wait() const {
  if (!line) {
    return;
  }
  want();
  std::unique_lock lock(line->mutex_);
  line->changed_.wait(lock, [this] { return line->done_ >= number; });
}

std::uint64_t Line::seed() {
  static const std::uint64_t seed = [] {
    const char* text = std::getenv("PRETEND_CARD_SEED");
    return text == nullptr ? std::random_device()() : std::strtoull(text, nullptr, 10);
  }();
  return seed;
}

Line::Line(std::uint64_t number)
    : random_(static_cast<std::minstd_rand::result_type>(seed() * 31 + number)) {}

std::shared_ptr<Line> Line::make(std::uint64_t number) {
  return std::shared_ptr<Line>(new Line(number));
}

void Line::wait_for_room() {
  std::unique_lock lock(mutex_);
  if (work_.size() >= longest_line) {
    wanted_ = std::max(wanted_, done_ + longest_line / 2);
    changed_.notify_all();
    changed_.wait(lock, [this] { return work_.size() < longest_line; });
  }
}

void Line::add(std::function<void()> work) {
  add(Work{.work = std::move(work), .before = {}});
}

void Line::add_wait(const Place& place) {
  if (place.line && place.line.get() != this) {
    add(Work{.work = {}, .before = place});
  }
}

void Line::add(Work work) {
  const std::lock_guard lock(mutex_);
  work_.push_back(std::move(work));
  ++added_;
  if (!has_thread_) {
    has_thread_ = true;
    std::thread([own = shared_from_this()] { own->do_all(); }).detach();
  }
  changed_.notify_all();
}

Place Line::end() {
  const std::lock_guard lock(mutex_);
  return {shared_from_this(), added_};
}

void Line::close() {
  const std::lock_guard lock(mutex_);
  is_closed_ = true;
  changed_.notify_all();
}

void Line::work() {
  if (!std::exchange(is_at_work_, true)) {
    card().open_memory();
  }
}

/// Without the lock: who has the card's asks for a line's.
void Line::rest(std::unique_lock<std::mutex>& lock) {
  if (std::exchange(is_at_work_, false)) {
    lock.unlock();
    card().close_memory();
    lock.lock();
  }
}

/// In stretches: one is late until somebody waits or its time is up, the next is not.
void Line::be_late(std::unique_lock<std::mutex>& lock) {
  if (pieces_left_ == 0) {
    pieces_left_ = 1 + random_() % longest_stretch;
    is_late_ = !is_late_;
  }
  --pieces_left_;
  if (is_late_ && wanted_ <= done_) {
    rest(lock);
    is_late_ = changed_.wait_for(lock, most_late, [this] { return wanted_ > done_; });
  }
}

void Line::do_all() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !work_.empty() || is_closed_; });
    if (work_.empty()) {
      return;
    }
    be_late(lock);
    Work next = std::move(work_.front());
    work_.pop_front();
    if (next.before) {
      rest(lock);
    }
    lock.unlock();
    if (next.before) {
      next.before->wait();
    } else if (next.work) {
      work();
      next.work();
    }
    next = {};
    lock.lock();
    if (work_.empty()) {
      rest(lock);  // before anybody hears that it is done
    }
    ++done_;
    changed_.notify_all();
  }
}

}  // namespace muster::pretend
