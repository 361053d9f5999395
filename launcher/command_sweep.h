/// What the commands that take a RUN or a SWEEP do with a sweep: launcher/command_sweep.cc.
/// Each returns the exit code.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "launcher/job/find_job.h"

namespace muster {

enum class SweepForm { text, json, csv };
int show_sweep(const FoundJob& sweep, SweepForm form);
/// `trial`: "" for the whole sweep.
int stop_sweep(const FoundJob& sweep, const std::string& trial);

}  // namespace muster
