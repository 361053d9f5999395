// SPDX-License-Identifier: Apache-2.0
// How a group of NCCL ranks notices that it has failed, says so once, and ends.
#include <fmt/format.h>

#include "collectives/nccl/nccl_communicator.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/base/thread_name.h"

namespace muster {

using SteadyClock = std::chrono::steady_clock;

void NcclCommunicator::check(nccl::Result result, std::string_view what) {
  if (result != nccl::success) [[unlikely]] {
    const auto sentence = fmt::format("{} on rank {}: {}", what, rank(), words_for(result));
    fail(sentence);
    throw Error(Fault::communication, sentence);
  }
}

/// "unhandled cuda error" alone is all that the code says.
std::string NcclCommunicator::words_for(nccl::Result result) const {
  const char* last = table_.last_error == nullptr ? nullptr : table_.last_error(nullptr);
  const auto more = trim(last == nullptr ? "" : last);
  return table_.error_string(result) + (more.empty() ? "" : fmt::format(" ({})", more));
}

void NcclCommunicator::check_cuda(int error, std::string_view what) {
  if (error != 0) [[unlikely]] {
    cuda_.last_error();  // else the next kernel that torch launches is blamed
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

void NcclCommunicator::abort(std::string_view why) noexcept {
  try {
    fail(fmt::format("rank {} aborted: {}", rank(), why));
  } catch (...) {
    log::error("abort: out of memory");
  }
}

/// The first sentence wins. Everybody's NCCL must be aborted, ours by our watchdog and theirs by
/// their own, which the host group tells. NCCL's abort returns when no captured graph of its
/// operations is left: so others hear first, and the thread that has the graphs is not the one that
/// waits.
void NcclCommunicator::fail(const std::string& sentence) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) {
      return;
    }
    failure_ = sentence;
  }
  log::error(sentence);
  host_.abort(sentence);
  changed_.notify_all();
  if (!is_watched_) {
    abort_nccl();
  }
}

void NcclCommunicator::abort_nccl() noexcept {
  {
    const std::lock_guard lock(asking_);
    if (comm_ == nullptr || is_aborted_.exchange(true)) {
      return;
    }
  }
  table_.abort(comm_);
}

/// NCCL's answer to the call under way: "in progress" for ever where it was aborted.
nccl::Result NcclCommunicator::ask(nccl::Result* state) {
  const std::lock_guard lock(asking_);
  *state = nccl::in_progress;
  return is_aborted_ ? nccl::success : table_.get_async_error(comm_, state);
}

void NcclCommunicator::watch(const std::stop_token& stop) {
  name_thread("NCCL watchdog");
  cuda_.set_device(options_.device);
  is_watched_ = true;
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, stop, options_.look_every, [this] { return !failure_.empty(); });
      if (!failure_.empty()) {
        break;
      }
    }
    retire();
    if (const auto sentence = trouble(); !sentence.empty()) {
      fail(sentence);
      break;
    }
  }
  if (!stop.stop_requested()) {
    abort_nccl();
  }
}

/// Operations end in the order in which they began.
void NcclCommunicator::retire() {
  const std::lock_guard lock(mutex_);
  while (!pending_.empty() && cuda_.is_over(pending_.front().done)) {
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
  if (const std::unique_lock unused(calls_, std::try_to_lock); unused) {
    ask(&state);
  }
  const std::lock_guard lock(mutex_);
  const auto what = pending_.empty() ? "no operation under way" : pending_.front().what;
  if (state != nccl::success && state != nccl::in_progress) {
    return fmt::format("NCCL on rank {}, {}: {}", rank(), what, words_for(state));
  }
  if (!pending_.empty() && SteadyClock::now() > pending_.front().deadline) {
    return fmt::format(
        "{} was not over within {} s on rank {}: another rank has not called it, or is gone", what,
        std::chrono::duration<double>(options_.deadline).count(), rank());
  }
  return {};
}

bool NcclCommunicator::drain(std::chrono::milliseconds at_most) {
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
  is_watched_ = false;
  try {
    if (!is_aborted_ && drained) {
      for (void* handle : registered_) {
        table_.deregister_buffer(comm_, handle);
      }
      const auto result = table_.finalize(comm_);
      if (result != nccl::in_progress) {
        check(result, "ncclCommFinalize");
      }
      settle("closing");
      table_.destroy(comm_);
    } else {
      abort_nccl();
    }
  } catch (const std::exception& error) {
    log::warning(fmt::format("closing NCCL: {}", report(error)));
    abort_nccl();
  }
  for (auto* event : made_) {
    cuda_.event_destroy(event);
  }
  if (stream_ != nullptr) {
    cuda_.stream_destroy(stream_);
  }
}

}  // namespace muster
