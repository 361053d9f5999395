/// LiveTable: a running sweep as people see it: on a terminal a table that redraws itself, lines of
/// the log above it; elsewhere a line whenever something ends or the best improves. Draws on
/// stderr, so that stdout stays for results. show() and finish() belong to one thread; the log may
/// come from any.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "hpo/study.h"
#include "launcher/sweep/departures.h"
#include "launcher/sweep/sweep_table.h"
#include "runtime/base/clock.h"

namespace muster {

/// How a table looks where this descriptor leads: the terminal's size now (people resize windows)
/// and its colours, unless NO_COLOR; elsewhere plain and uncut.
TableLook look_at(int descriptor);

class LiveTable {
 public:
  struct Options {
    bool redraws = false;  ///< a terminal
    SlotCost slot;
    std::string resource = "epochs";
    std::function<void(std::string_view)> write;  ///< instead of stderr, for tests
  };
  LiveTable(Options options, const Clock& clock);
  ~LiveTable();
  LiveTable(const LiveTable&) = delete;
  LiveTable& operator=(const LiveTable&) = delete;

  /// After each commit. Redraws at most five times a second.
  void show(const hpo::Study& study);
  /// The last picture, and no more.
  void finish(const hpo::Study& study);

 private:
  void draw(const hpo::Study& study);
  void put(const std::string& above);
  void tell(const hpo::SweepState& state);

  Options options_;
  const Clock& clock_;
  Monotonic next_{};
  std::mutex mutex_;                // of the screen
  std::vector<std::string> table_;  // as it stands there
  std::size_t drawn_ = 0;           // lines on the screen that are ours
  Departures departures_;
  hpo::TrialId best_told_ = 0;
};

}  // namespace muster
