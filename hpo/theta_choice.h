/// The choice of a kernel's parameters for new values: refined from what stood before, from the
/// usual start while there are few, with bent inputs where the data ask for it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "hpo/evidence.h"

namespace muster::hpo {

/// `before`: what was chosen last; empty at first.
Theta choose_theta(const KernelShape& shape, const Matrix& features,
                   const std::vector<double>& values, const Theta& before);

}  // namespace muster::hpo
