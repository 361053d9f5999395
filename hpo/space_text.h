/// The canonical words of a space: what reads back to the same space.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "hpo/space.h"

namespace muster::hpo {

/// "model.kind == cnn and x < 3"
std::string condition_text(const Space& space, const Condition& condition);

}  // namespace muster::hpo
