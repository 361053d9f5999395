/// Rows: which observations a model sees, and what it sees of them. Functions of the first `seen`
/// observations alone.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hpo/history.h"
#include "hpo/minimise.h"
#include "hpo/model_inputs.h"

namespace muster::hpo {

struct Rows {
  std::vector<std::size_t> positions;  ///< in the history, ascending
  bool is_prefix = false;              ///< all of it: a factor can grow row by row
};

Rows all_rows(std::size_t seen);
/// The newest results of the upper half of the rungs, then the newest others.
Rows fidelity_rows(const History& history, std::size_t seen, const ModelInputs& inputs);
/// From `begin` on: what lies in the box blown up to twice its size (newest first), and the best
/// wherever they lie.
Rows region_rows(const History& history, std::size_t seen, const Space& space, std::size_t begin,
                 const Box& box);

/// The values that a model fits. Each sweep's are warped by themselves: a lent row says where its
/// own sweep was good.
std::vector<double> warped_values(const History& history, const Rows& rows, std::uint32_t sources);
Matrix features_of(const History& history, const Rows& rows, std::size_t count,
                   const ModelInputs& inputs);  ///< of the first `count`
/// Those of this sweep's own rows; all of them while there is none.
std::vector<double> own_values(const History& history, const Rows& rows,
                               const std::vector<double>& values);
/// Up to five configurations, best first: own before lent, high resources before low.
std::vector<Config> best_of(const History& history, const Rows& rows,
                            const std::vector<double>& values, const ModelInputs& inputs);

}  // namespace muster::hpo
