/// fingerprint: what a checkpoint must agree on to be loaded into a run, and what it should. Must:
/// the model, the data, and every key that may not change while a run lasts (runtime/config),
/// learning rate and schedule included. Should: what changes at most the order of sums: ranks,
/// threads, versions, processor. A difference in the first is refused by name, in the second said.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "runtime/checkpoint/manifest.h"
#include "runtime/config/job.h"
#include "runtime/data/dataset.h"
#include "runtime/model/model.h"

namespace muster {

/// `steps` of the whole run: a schedule that falls until the end depends on it. Sets settings and
/// environment only.
CheckpointInfo fingerprint(const JobSettings& job, const Model& model, const Dataset& data,
                           int ranks, std::uint64_t steps);

/// The setting `sample` of a fingerprint: what a model must know of the data, so that it can be
/// made again without them: "float32 1x28x28, classes scalar 10".
std::string sample_text(const DataShape& shape);
/// Throws bad_input when the text is none.
DataShape sample_from(const std::string& text);

}  // namespace muster
