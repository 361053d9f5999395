/// What open_data() works out of a table before it is a Dataset: what its labels are, what a sample
/// looks like, how values are normalised.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "runtime/data/convert.h"
#include "runtime/data/dataset.h"
#include "runtime/data/table.h"

namespace muster {

/// What a pass over the labels tells.
struct LabelFacts {
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();
  bool are_whole = true;
};

LabelFacts look_at(const Column& labels);

/// Throws bad_input where features and labels have unequal rows.
void check_rows(const Table& table);
/// `data.shape` instead of the file's, when the lengths agree; else throws bad_input.
std::vector<std::int64_t> feature_shape(const DataSettings& settings, const ColumnInfo& info);
DataShape shape_of(const DataSettings& settings, const Table& table, const LabelFacts& facts);
/// Throws bad_input naming the first row whose label is no class.
void check_labels(const Column& labels, const DataShape& shape, const LabelFacts& facts);

/// Over the rows in `subset`, or all. Collective where the data must be looked at.
Normalisation normalisation_of(const DataSettings& settings, const Table& table,
                               const DataShape& shape, const std::vector<std::uint64_t>* subset,
                               NodeGroup& node);

}  // namespace muster
