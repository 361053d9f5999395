/// learn_from_parents: the sweeps and tables that tune.warm_start names, brought into a new sweep
/// before its first trial. A parent with the same [trial] counts as identical: its rows are
/// results; any other lends its best configurations as starts and its rows to the model.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "hpo/study.h"
#include "runtime/config/sweep.h"

namespace muster {

void learn_from_parents(hpo::Study& study, const SweepSettings& settings);

}  // namespace muster
