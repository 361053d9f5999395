/// Supervisor: keeps a job alive: starts it, starts it again from its last checkpoint after a
/// fault, lets it leave in time when it must, and writes down what happened. One call runs a job to
/// its end and returns the exit code of interfaces.md. Call it from the main thread with
/// StopSignals in place.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launcher/supervise/attempt.h"
#include "launcher/supervise/mailbox.h"
#include "launcher/supervise/restart_policy.h"
#include "launcher/supervise/roster.h"
#include "launcher/supervise/run_record.h"

namespace muster {

struct RunPlan {
  std::string name;
  RunFiles files;
  JobLaunch launch;
  std::unique_ptr<Engine> engine;
  AttemptOptions attempt;
  RestartLimits restarts;
  Console console = Console::rank_zero;
  std::function<void(int rank, std::string_view line)> on_line;  ///< beside the logs; may be empty
  int min_ranks = 0;                                             ///< 0: all are needed
  std::optional<double> max_runtime;                             ///< seconds over all attempts
  std::vector<std::unique_ptr<NoticeSource>>
      notices;  ///< beside signals, `control/` and max_runtime
  std::string slurm_job;
  /// The hosts of the Slurm job as they are now: nodes that died are gone. Empty: not known.
  std::function<std::vector<std::string>()> hosts_now;
};

class Supervisor {
 public:
  Supervisor(RunPlan plan, Mailbox& mailbox);
  /// The run's directory must exist and its configuration be settled. Throws bad_input when
  /// somebody else owns the run.
  int run();

 private:
  enum class Leaving { no, to_continue, on_purpose, out_of_time };
  void describe_run();
  void watch_for_notices();
  int run_attempts();
  void say_what_starts(std::uint64_t checkpoint);
  AttemptOutcome one_attempt();
  void handle_mail(Attempt* attempt);
  void on_signal(int signal, Attempt* attempt);
  void on_interrupt(Attempt* attempt);
  void on_notice(NoticeEvent notice, Attempt* attempt);
  bool wait_before_restart(std::chrono::milliseconds wait);
  int end_drained(const AttemptOutcome& outcome);
  std::optional<int> end_failed(AttemptOutcome outcome);
  std::optional<int> start_again(const FaultReport& report, const RestartDecision& decision);
  int give_up(const FaultReport& report, const std::string& why, bool users_fault);
  void recall_left_out();
  void leave_out(const std::string& host, const std::string& why);
  void drop_lost_hosts();
  std::optional<int> fit_to_hosts();
  int finish(int code, const char* state, const std::string& message);
  const char* left_state() const;

  RunPlan plan_;
  Mailbox& mailbox_;
  RestartPolicy policy_;
  Roster roster_;
  std::unique_ptr<RunRecord> record_;
  std::unique_ptr<RankLogs> logs_;
  std::unique_ptr<NoticeWatch> watch_;
  Leaving leaving_ = Leaving::no;
  bool at_once_ = false;
  std::optional<NoticeEvent> pending_;  ///< came while no rank was running
};

}  // namespace muster
