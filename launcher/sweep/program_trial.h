/// ProgramTrial: one launch of one trial as processes of its own: any program, one rank or several.
/// It starts them, reads their metrics, keeps their log, watches memory and time, and ends them by
/// TERM, a grace, and KILL. Decides nothing about the search. Driven by one thread; never blocks
/// but in its destructor, which kills what still runs.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launcher/engine/line_reader.h"
#include "launcher/engine/process.h"
#include "launcher/program/metric_reader.h"
#include "launcher/program/program_job.h"
#include "launcher/supervise/last_words.h"
#include "launcher/sweep/memory_cap.h"
#include "launcher/sweep/trial_events.h"
#include "runtime/base/clock.h"

namespace muster {

/// What all trials of a sweep have in common.
struct ProgramTrialPlan {
  std::string sweep;  ///< its name
  Path trials;        ///< sweeps/NAME/trials, absolute
  std::vector<std::string> command;
  Path directory;  ///< where the program runs
  ArgumentStyle style = ArgumentStyle::plain;
  LineMetrics::Definitions metrics;
  std::vector<Channel> channels;
  std::string objective;          ///< the metric that is searched for
  std::string resource_argument;  ///< carries a rung's target; empty: the program runs on and is
                                  ///< stopped by its reports
  std::string resource_metric;    ///< the field of a metrics line that says how far; empty: that
                                  ///< argument's name
  bool is_job = false;            ///< a Muster job of several ranks, by `muster train`: its run's
                                  ///< directory is the trial's
  int ranks = 1;
  std::optional<int> gpus;              ///< cards of a trial; nothing: one a rank
  std::optional<std::uint64_t> memory;  ///< bytes that a trial's processes may use together
  bool uses_groups = true;              ///< of the kernel, for that, where they can be made
  std::optional<double> timeout;        ///< seconds a launch may take
  double grace = 30;                    ///< seconds from TERM to KILL
  Environment environment;
};

/// What one launch gets.
struct ProgramTrialSeat {
  std::uint32_t trial = 0;
  Parameters parameters;
  double from = 0;  ///< resource done so far
  double to = 0;    ///< the target, where the program takes one
  std::vector<int> cpus;
  std::optional<std::vector<std::string>> gpus{};  ///< the cards that it sees; nothing: as we do
};

/// The value of the objective, with what else was measured by then.
struct TrialReading {
  double value = 0;
  double resource = 0;  ///< as the program says; else its reports are counted
  std::vector<std::pair<std::string, double>> others;
};

/// How a launch ended.
struct TrialEnding {
  enum class Kind {
    finished,     ///< exit 0
    saved,        ///< exit 75: state kept, run me again
    failed,       ///< also: used more memory than it may
    did_not_fit,  ///< the machine had no memory left: another time, beside fewer, it may
  };
  Kind kind = Kind::finished;
  std::string reason;  ///< one line; empty when finished
};

class ProgramTrial {
 public:
  /// Makes the trial's directory and starts its processes. Throws when that cannot be done.
  ProgramTrial(const ProgramTrialPlan& plan, const ProgramTrialSeat& seat, Monotonic now);

  /// What to wait for; poll(2) may add its own.
  void add_descriptors(std::vector<pollfd>& waits) const;
  /// Takes what there is. Returns the ending once all processes have ended.
  std::optional<TrialEnding> advance(Monotonic now, std::vector<TrialReading>& readings);
  /// TERM now, KILL after the grace. Idempotent.
  void stop(Monotonic now);
  bool stopping() const { return kill_at_.has_value(); }
  /// Sentences about metric definitions that never matched.
  std::vector<std::string> complaints() const;
  const Path& directory() const { return job_.directory; }
  std::optional<double> last_value() const { return last_value_; }
  std::uint64_t peak_memory() const { return peak_memory_; }  ///< bytes resident, as was seen

 private:
  struct Rank {
    Process process;
    LineReader output;
    LineReader error;
    std::optional<Ended> ended;
  };
  void start_rank(const ProgramTrialPlan& plan, const ProgramTrialSeat& seat, int rank, int port);
  void read_lines(Rank& rank, std::vector<TrialReading>& readings);
  void take(const std::vector<MetricPoint>& points, std::vector<TrialReading>& readings);
  void record(const TrialReading& reading);
  void write_log(const std::vector<std::string>& lines);
  void enforce_limits(Monotonic now);
  void watch_memory();
  bool has_run_out_of_memory(const Rank& rank) const;
  std::string own_words(const Rank& rank) const;
  std::string failure_of(const Rank& rank) const;
  TrialEnding ending() const;

  ProgramTrialPlan plan_;
  ProgramJob job_;
  std::unique_ptr<MemoryCap> cap_;  // outlives the processes
  std::vector<Rank> ranks_;
  LineMetrics line_metrics_;
  FileMetrics file_metrics_;
  std::map<std::string, double> latest_;
  std::optional<double> last_value_;
  double from_;           // done before this launch
  double counted_;        // reports, for programs that name no resource
  LastWords last_words_;  // for the failure
  std::unique_ptr<File> log_;
  std::optional<TrialEvents> events_;  // a Muster job writes its own
  std::optional<Monotonic> kill_at_;
  Monotonic deadline_ = Monotonic::max();
  Monotonic next_look_{};
  std::string verdict_;  // why we ended it: too long, too large
  std::uint64_t peak_memory_ = 0;
  std::uint64_t kills_before_;  // of the kernel, for want of memory
};

inline Monotonic::duration seconds_long(double seconds) {
  return std::chrono::duration_cast<Monotonic::duration>(std::chrono::duration<double>(seconds));
}

/// sweeps/NAME/trials/0017
Path trial_directory(const Path& trials, std::uint32_t trial);

}  // namespace muster
