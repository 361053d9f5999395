/// Engine: a way to start the ranks of a job: on this machine, with mpirun over hosts, with srun
/// inside an allocation. An engine starts and reports; it decides nothing (launcher/supervise
/// does). Driven by one thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/engine/process.h"
#include "launcher/engine/resources.h"
#include "runtime/base/clock.h"
#include "runtime/base/error.h"
#include "runtime/comm/control_page.h"

namespace muster {

struct Host {
  std::string name;
  int slots = 0;  ///< ranks that it may hold; 0: not said
};

/// Where a rank sits, for what differs from rank to rank in its environment.
struct Seat {
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
  std::string host;  ///< "" for this machine
};

/// What to start. Everything that is the same for all ranks.
struct JobLaunch {
  std::vector<std::string> command;
  Environment environment;  ///< whole, but for what differs by rank
  std::function<Environment(const Seat&)>
      of_seat;  ///< that, where ranks are started one by one; may be empty
  int ranks = 1;
  std::vector<Host> hosts;  ///< empty: this machine
  std::vector<std::string> excluded_hosts;
  int threads = 0;       ///< per rank; 0: divided
  bool bind = false;     ///< pin each rank to its cores
  bool foreign = false;  ///< any program: told to stop by TERM, sees all cards
  bool on_cpu = false;   ///< ranks of ours that use no card
  Path directory;        ///< to run in; empty: here
  Path log_directory;    ///< where attendants write (mpirun, srun): seen by all hosts
  std::string start;     ///< names this start for its attendants, who end with it; one word
  bool ask_launcher_first =
      false;  ///< srun: killed at once, it leaves its ranks on other nodes alive
  std::chrono::milliseconds hang_after{30'000};  ///< for attendants, who watch their hosts' ranks
  std::vector<std::string> engine_words;         ///< more words for srun or mpirun

  CardUse cards() const {
    return foreign ? CardUse::all_seen : on_cpu ? CardUse::none : CardUse::one_each;
  }
};

/// What happened to a rank, in order for each rank.
struct RankEvent {
  enum class Kind { output, error_output, ended };
  Kind kind = Kind::output;
  int rank = 0;          ///< -1: the launcher's own words (mpirun, srun)
  std::string text;      ///< the line
  bool is_live = false;  ///< the next one takes its place: a progress line
  Ended ended;
  std::string host;
  bool in_file = false;  ///< the line is in the rank's log already: an attendant wrote it
  /// Of `ended`, where an attendant on the rank's host looked: what the rank left on its page.
  std::string cause;
  Fault fault = Fault::io;
  std::uint64_t step = 0;
  std::int64_t time_ns = 0;
  std::string operation;
};

/// RankGroup: the ranks that one start made. Destroying it kills them and all that they started.
class RankGroup {
 public:
  virtual ~RankGroup() = default;
  /// Waits until something happens, `wake` becomes readable (-1: none) or the time is over.
  virtual void poll(std::chrono::milliseconds at_most, int wake,
                    std::vector<RankEvent>& events) = 0;
  virtual bool running() const = 0;     ///< a rank, or the launcher, still lives
  virtual void signal(int signal) = 0;  ///< to all ranks that live
  /// When the ranks will be ended, for ranks whose page is not ours: before the signal to leave.
  virtual void tell_deadline(Monotonic /*deadline*/) {}
  virtual void kill() = 0;          ///< all, now
  virtual ControlPage* page() = 0;  ///< the ranks' page where it is ours; null across hosts
  virtual pid_t pid_of(int rank) const = 0;  ///< on this machine, else -1
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string_view name() const = 0;
  /// One line: who gets what.
  virtual std::string plan(const JobLaunch& launch) const = 0;
  virtual std::unique_ptr<RankGroup> start(const JobLaunch& launch) = 0;
};

std::unique_ptr<Engine> local_engine();
std::unique_ptr<Engine> mpirun_engine();
std::unique_ptr<Engine> slurm_engine();

}  // namespace muster
