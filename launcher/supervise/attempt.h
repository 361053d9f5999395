/// Attempt: one start of the ranks to the end of the last of them. Watches output, beats and
/// deaths; passes a notice on; kills what is late. Decides nothing about restarts: it says how the
/// attempt ended and whose fault it was.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "launcher/engine/engine.h"
#include "launcher/notice/notice_source.h"
#include "launcher/supervise/fault_report.h"
#include "launcher/supervise/hang_watch.h"
#include "launcher/supervise/rank_logs.h"

namespace muster {

struct AttemptOptions {
  RunFiles files;
  std::string program;      ///< what the ranks run, for sentences
  bool speaks_page = true;  ///< ranks of ours; false: any program, which is told to stop by TERM
  std::chrono::milliseconds grace{30'000};  ///< from a notice without deadline to the kill
  std::chrono::milliseconds hang_after{30'000};
  std::chrono::milliseconds last_words{500};  ///< that other ranks get after the first has failed
  int number = 0;                             ///< of the attempt; counted by the supervisor
};

struct AttemptOutcome {
  enum class Kind { finished, drained, failed };
  Kind kind = Kind::failed;
  bool saved = false;                   ///< drained: all ranks say that their state is durable
  bool on_purpose = false;              ///< drained: a rank left for good (exit code 77)
  std::optional<FaultReport> fault;     ///< failed
  std::uint64_t step = 0;               ///< the last that was completed, as far as known
  std::uint64_t checkpoint = 0;         ///< step of the newest checkpoint, as far as known
  std::optional<Monotonic> first_step;  ///< when the first step of this attempt was seen
  std::optional<Monotonic> last_checkpoint;
  bool user_error = false;
};

class Attempt {
 public:
  Attempt(const AttemptOptions& options, RankGroup& group, int ranks, RankLogs& logs);

  /// Waits at most so long and handles what happened. False once everything has ended.
  bool turn(std::chrono::milliseconds at_most, int wake);
  /// Tells the ranks to save and leave. A later, earlier deadline moves the first; the reason that
  /// nobody restarts after wins.
  void notify(const NoticeEvent& notice);
  void hint();  ///< save at the next boundary and go on
  void leave_at_once();
  AttemptOutcome outcome();
  std::uint64_t step() const;
  std::uint64_t checkpoint() const;
  /// What the ranks are at, as status.json calls it; ranks on other hosts are Starting until the
  /// first step, programs are Training at once.
  const char* state() const;

 private:
  void take(const RankEvent& event);
  void took_end(const RankEvent& event);
  void look_for_progress();
  void look_for_hang();
  void enforce_deadlines();
  RankSlot* slot(int rank);
  bool is_failure(const RankEvent& event) const;

  const AttemptOptions& options_;
  RankGroup& group_;
  RankLogs& logs_;
  std::vector<bool> alive_;
  std::map<int, Ended> ends_;
  std::vector<RankFault> faults_;
  HangWatch hangs_;
  Monotonic next_look_{};
  bool notified_ = false;
  std::optional<Monotonic> deadline_;  ///< of the notice
  std::optional<Monotonic> kill_at_;   ///< after a first failure
  bool killed_ = false;
  bool hung_ = false;
  std::uint64_t first_seen_step_ = 0;
  std::uint64_t checkpoint_at_start_ = 0;
  std::uint64_t files_step_ = 0;  ///< from metrics.jsonl, where there is no page
  std::uint64_t files_checkpoint_ = 0;
  std::optional<Monotonic> first_step_;
  std::optional<Monotonic> last_checkpoint_;
  std::uint64_t seen_checkpoint_ = 0;
};

/// Step of the newest committed checkpoint by the names in `checkpoints/`, 0 when there is none.
std::uint64_t newest_checkpoint_step(const Path& checkpoints);

}  // namespace muster
