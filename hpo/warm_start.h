/// Warm start: a new sweep learns from earlier ones and from tables in CSV.
/// `identical`: the same data and program, so results count as results of this sweep (facts of the
/// past, not trials of its budget). `transfer`: something similar: the configurations that together
/// are best over all parents come first, and rows of every parent are lent to the model, each
/// parent's values on a scale of their own.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hpo/study.h"

namespace muster::hpo {

/// One earlier result, in this sweep's space.
struct EarlierResult {
  Config config;
  std::optional<double> resource;
  double value = 0.0;
  bool failed = false;
};

/// Results that this sweep can use, and how many it cannot: keys or values that its space does not
/// have.
struct EarlierResults {
  std::string source;
  std::vector<EarlierResult> results;
  std::size_t unusable = 0;
};

/// Columns are keys of the space, `value` or the name of the objective's metric, and where they are
/// there `resource` and `state`. Unknown columns are passed over. Throws Error(bad_input) with the
/// line for a bad number, and when no column is the value.
EarlierResults results_in_csv(std::string_view csv, const std::string& source,
                              const StudySetup& setup);
/// From the journal of an earlier sweep, whose setup must be known to read its configurations.
EarlierResults results_in_sweep(const Path& journal, const StudySetup& earlier,
                                const StudySetup& setup);

/// Identical data: every row becomes a result. How many.
std::size_t add_all(Study& study, const EarlierResults& earlier);
/// Transfer: enqueues up to `count` configurations, chosen greedily so that the mean over the
/// parents of the best normalised value is least. How many.
std::size_t enqueue_best(Study& study, std::span<const EarlierResults> parents,
                         std::size_t count = 5);

/// Transfer: lends up to `most` rows of all parents together, evenly spaced along each. How many.
std::size_t lend_rows(Study& study, std::span<const EarlierResults> parents,
                      std::size_t most = 250);

}  // namespace muster::hpo
