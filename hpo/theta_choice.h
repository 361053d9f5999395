/// The choice of a kernel's parameters for new values: refined from what stood before, from the
/// usual start while there are few, with bent inputs where the data ask for it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hpo/evidence.h"

namespace muster::hpo {

/// `before`: what was chosen last; empty at first.
Theta choose_theta(const KernelShape& shape, const Matrix& features,
                   const std::vector<double>& values, const Theta& before);

/// What was fitted last, and to how many observations: all that a searcher under a model keeps.
/// Empty theta: nothing yet.
struct Fitted {
  std::size_t at = 0;
  Theta theta;
  std::string text() const;  ///< for the journal
};
/// Nothing where `text` is not of a model of this shape.
std::optional<Fitted> read_fitted(std::string_view text, const KernelShape& shape);

}  // namespace muster::hpo
