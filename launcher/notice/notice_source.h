/// NoticeSource: somewhere a warning may come from that this job has to leave. Each gives (reason,
/// deadline); the earliest deadline wins. Sources may block for a second or two: NoticeWatch asks
/// them from a thread of its own.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/file_system.h"
#include "runtime/comm/control_page.h"

namespace muster {

struct NoticeEvent {
  Notice reason = Notice::none;
  std::optional<Monotonic> deadline;  ///< nothing: not known
  std::string text;                   ///< "AWS takes this machine back at 2026-11-21T04:00:00Z"
  bool hint_only = false;             ///< save now, but go on
};

class NoticeSource {
 public:
  virtual ~NoticeSource() = default;
  /// What it has to say that it has not said before.
  virtual std::optional<NoticeEvent> ask(Monotonic now, WallTime wall) = 0;
  /// Something has happened that may have moved a deadline: the next ask() is to be a true one. For
  /// sources that ask seldom.
  virtual void hurry() {}
};

/// A file that somebody creates. Its first word, if any, is the time left ("90", "2m"). `who` asks
/// by it, where that says more than its path.
std::unique_ptr<NoticeSource> file_notice(Path path, Notice reason, std::string who = {});
/// The job's own budget of time over all its attempts: `left` of it remains now.
std::unique_ptr<NoticeSource> budget_notice(std::chrono::milliseconds left, Monotonic now);
/// The end of a Slurm job, asked for as squeue tells it, since preemption moves it; every 15 s, or
/// when in a hurry. Speaks when less is left than a tenth of what there was at first, at least 20
/// and at most 120 s. `ask_time_left` gives the seconds left, or nothing; the default runs squeue.
std::unique_ptr<NoticeSource> slurm_notice(
    std::string job,
    std::function<std::optional<double>(const std::string& job)> ask_time_left = {});
/// What squeue says is left of a job.
std::optional<double> slurm_seconds_left(const std::string& job);

/// A cloud that takes machines back. Addresses are those of the metadata services unless others are
/// given ("127.0.0.1:8080").
enum class Cloud { aws, gcp, azure };
std::unique_ptr<NoticeSource> cloud_notice(Cloud cloud, std::string address = "");

/// Asks its sources every `period`, on a thread of its own, and tells `on_notice` from that thread.
class NoticeWatch {
 public:
  NoticeWatch(std::vector<std::unique_ptr<NoticeSource>> sources, std::chrono::milliseconds period,
              std::function<void(const NoticeEvent&)> on_notice);
  ~NoticeWatch();
  void
  ask_now();  ///< do not wait for the next period: a signal came that may have moved a deadline

 private:
  void run(const std::stop_token& stop);
  std::vector<std::unique_ptr<NoticeSource>> sources_;
  std::chrono::milliseconds period_;
  std::function<void(const NoticeEvent&)> on_notice_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  bool now_ = false;
  std::jthread thread_;
};

}  // namespace muster
