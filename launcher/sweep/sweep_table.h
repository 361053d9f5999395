/// sweep_table: a sweep as lines for a terminal: how far it is, the best so far, what runs now with
/// its curve, and why trials failed. Pure: the live table draws it, `muster show` prints it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "hpo/sweep_state.h"

namespace muster {

/// What a slot holds while a trial is in it.
struct SlotCost {
  double count = 0;  ///< 0: not known
  std::string unit;  ///< "core", "GPU"
};

struct TableLook {
  std::size_t columns = 100;
  std::size_t rows = 24;
  bool has_colours = false;
  std::string resource = "epochs";  ///< what a rung counts
  SlotCost slot;
};

/// At most `rows` lines of at most `columns` columns. `now`: seconds of the sweep.
std::vector<std::string> sweep_table(const hpo::SweepState& state, double now,
                                     const TableLook& look);

/// The trials of a table one below the other, their parameters under short names; states only
/// where they may differ.
std::vector<std::string> trial_rows(const hpo::SweepState& state,
                                    const std::vector<const hpo::Trial*>& trials,
                                    const TableLook& look, bool has_states);

/// Why trials failed, the latest first; trials with one reason share a line.
std::vector<std::string> failure_lines(const hpo::SweepState& state, const TableLook& look,
                                       std::size_t most);

/// How far a trial has come, " (after 3 of 27 epochs)"; empty of a complete one, which outranks
/// better values of trials under way.
std::string as_of(const hpo::SweepState& state, const hpo::Trial& trial,
                  const std::string& resource);

/// "lr 0.0123, hidden 64"
std::string params_text(const hpo::SweepState& state, const hpo::Trial& trial);

/// The end of a dotted key where no other key ends so: "optimizer.lr" is "lr".
std::vector<std::string> short_names(const hpo::Space& space);

/// The values that a trial reported. A final value that repeats the last one is no point of its
/// own.
std::vector<double> curve_of(const hpo::Trial& trial);

/// Values as eight heights, worst to best: "▁▃▅▇". At most `width` of them, the last ones.
std::string spark(const std::vector<double>& values, bool maximise, std::size_t width);

}  // namespace muster
