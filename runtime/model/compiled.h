/// model.kind = compiled: a training step that Python compiled ahead of time (.pt2), loss and
/// gradients in one call (experimental). Its tensors lie in the arena like any model's. Every call
/// computes as many samples as were compiled: the last ones are filled up with copies that weigh
/// nothing, so any batch on any number of ranks is right, and those that fit are fast.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "runtime/model/model.h"

namespace muster {

/// Throws bad_input when the package cannot be opened or does not fit the data.
std::unique_ptr<Model> open_compiled(const std::string& file, const DataShape& data);

}  // namespace muster
