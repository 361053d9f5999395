/// What a coordinator and a worker say to each other: JSON lines, the same over pipes, MPI messages
/// and spool files. A worker runs many trials at once, each a thread (tier A); every message names
/// its trial.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace muster {

/// Coordinator to worker.
struct WorkerOrder {
  enum class Kind {
    start,    ///< a trial, new or to go on with
    answer,   ///< to a report: continue to `to`, or pause, stop, complete
    suspend,  ///< save all trials in one group, end
  };
  Kind kind = Kind::start;
  std::uint32_t trial = 0;
  std::vector<std::pair<std::string, std::string>> parameters;  ///< start: words by key of the job
  double from = 0;
  double to = 0;
  std::string decision;  ///< answer: continue, pause, stop, complete
};

/// Worker to coordinator.
struct WorkerEvent {
  enum class Kind {
    ready,  ///< once, when data and programs are loaded
    report,
    ended,   ///< `state`: complete, failed, preempted, evicted
    idle,    ///< the trial's slot is free after pause, stop or complete
    remark,  ///< a sentence for people
    alive,   ///< nothing but that it lives: where no descriptor tells
    left,    ///< its last word: it went as it was asked to
  };
  Kind kind = Kind::ready;
  std::uint32_t trial = 0;
  double resource = 0;
  double value = 0;  ///< NaN travels as null
  std::vector<std::pair<std::string, double>> metrics;
  double seconds = 0;
  std::uint64_t memory = 0;  ///< report, ended: bytes that the trial has taken at most; ready: that
                             ///< there are for all
  std::string state;
  std::string reason;   ///< of ended and remark
  std::string machine;  ///< ready: whose memory it is
  std::string card;     ///< ready: the GPU that its trials share; empty: CPUs
  std::optional<double> final_value;
};

std::string line_of(const WorkerOrder& order);  ///< with its newline
std::string line_of(const WorkerEvent& event);
/// Throw Error(communication) at a line that is none of ours.
WorkerOrder order_from(std::string_view line);
WorkerEvent event_from(std::string_view line);

}  // namespace muster
