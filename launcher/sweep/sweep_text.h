/// sweep_text: a stored sweep, or one of its trials, as `muster show` tells it to people.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "launcher/sweep/stored_sweep.h"
#include "launcher/sweep/sweep_table.h"

namespace muster {

/// What is running, the best trials, why others failed. `is_owned`: somebody runs it now.
std::string sweep_text(const StoredSweep& sweep, bool is_owned, TableLook look);
/// One trial: how it went, its parameters, its curve, where its files are. Throws bad_input when
/// there is no such trial.
std::string trial_text(const StoredSweep& sweep, const std::string& trial);
/// That trial's directory. Throws bad_input when there is no such trial.
Path directory_of(const StoredSweep& sweep, const std::string& trial);

}  // namespace muster
