/// LiveTable: a running sweep as people see it: on a terminal a table that redraws itself,
/// elsewhere a line whenever something ends or the best improves. Draws on stderr, so that stdout
/// stays for results. One thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "hpo/study.h"
#include "runtime/base/clock.h"

namespace muster {

class LiveTable {
 public:
  struct Options {
    bool redraws = false;  ///< a terminal
    std::size_t width = 100;
    std::size_t slots = 0;
    std::string resource = "epochs";
  };
  LiveTable(Options options, const Clock& clock) : options_(std::move(options)), clock_(clock) {}

  /// After each commit. Redraws at most five times a second.
  void show(const hpo::Study& study);
  /// The last picture, and no more.
  void finish(const hpo::Study& study);

  /// The table's lines: pure, for tests.
  static std::vector<std::string> lines(const hpo::SweepState& state, double now,
                                        const Options& options);

 private:
  void draw(const hpo::Study& study);
  void tell(const hpo::SweepState& state);
  Options options_;
  const Clock& clock_;
  Monotonic next_{};
  std::size_t drawn_ = 0;  // lines on the screen that are ours
  std::map<hpo::TrialId, hpo::TrialState> told_;
  hpo::TrialId best_told_ = 0;
};

/// Values as eight heights, worst to best: "▁▃▅▇". At most `width` of them, the last ones.
std::string spark(const std::vector<double>& values, bool maximise, std::size_t width);

}  // namespace muster
