/// Supervisor: keeps a job alive: starts it, starts it again from its last checkpoint after a
/// fault, lets it leave in time when it must, and writes down what happened. One call runs a job to
/// its end and returns the exit code of interfaces.md. Call it from the main thread with
/// StopSignals in place.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "launcher/engine/owner_lock.h"
#include "launcher/supervise/attempt.h"
#include "launcher/supervise/restart_policy.h"
#include "launcher/supervise/run_directory.h"
#include "launcher/supervise/run_status.h"

namespace muster {

struct RunPlan {
  std::string name;
  RunFiles files;
  JobLaunch launch;
  std::unique_ptr<Engine> engine;
  AttemptOptions attempt;
  RestartLimits restarts;
  Console console = Console::rank_zero;
  int min_ranks = 0;                  ///< 0: all are needed
  std::optional<double> max_runtime;  ///< seconds over all attempts
  std::vector<std::unique_ptr<NoticeSource>>
      notices;  ///< beside signals, `control/` and max_runtime
  std::string slurm_job;
};

/// What reaches a supervisor from outside, from any thread: signals and notices. Wakes it up.
class Mailbox {
 public:
  Mailbox();
  void signal(int signal);
  void notice(const NoticeEvent& notice);
  int wake_descriptor() const noexcept { return wake_.get(); }
  struct Content {
    std::vector<int> signals;
    std::vector<NoticeEvent> notices;
  };
  Content take();

 private:
  void ring() noexcept;
  Descriptor wake_;
  std::mutex mutex_;
  Content content_;
};

class Supervisor {
 public:
  Supervisor(RunPlan plan, Mailbox& mailbox);
  /// The run's directory must exist and its configuration be settled. Throws bad_input when
  /// somebody else owns the run.
  int run();

 private:
  enum class Leaving { no, to_continue, on_purpose, out_of_time };
  int run_attempts();
  AttemptOutcome one_attempt();
  void handle_mail(Attempt* attempt);
  void on_signal(int signal, Attempt* attempt);
  void on_notice(NoticeEvent notice, Attempt* attempt);
  bool wait_before_restart(std::chrono::milliseconds wait);
  void account(const AttemptOutcome& outcome, Monotonic begin, Monotonic end);
  int end_drained(const AttemptOutcome& outcome);
  std::optional<int> end_failed(const AttemptOutcome& outcome);
  void write_failure(const FaultReport& report);
  void leave_out(const std::string& host);
  void show_progress(const Attempt& attempt);
  void enter(const char* state, const std::string& message);
  void save_status();
  int finish(int code, const char* state, const std::string& message);

  RunPlan plan_;
  Mailbox& mailbox_;
  SystemClock clock_;
  std::unique_ptr<OwnerLock> lock_;
  std::unique_ptr<RankLogs> logs_;
  std::unique_ptr<NoticeWatch> watch_;
  RestartPolicy policy_;
  JobStatus status_;
  Leaving leaving_ = Leaving::no;
  bool at_once_ = false;
  std::optional<NoticeEvent> pending_;  ///< came while no rank was running
  Monotonic next_status_{};
  double seconds_before_ = 0;  ///< of earlier `muster`s on this run
  Monotonic started_{};
};

}  // namespace muster
