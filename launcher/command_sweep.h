/// What the commands that take a RUN or a SWEEP do with a sweep: launcher/command_sweep.cc.
/// Each returns the exit code.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "launcher/cli/command.h"
#include "launcher/job/find_job.h"

namespace muster {

enum class SweepForm { text, json, csv };
/// `trial`: "" for the whole sweep.
int show_sweep(const FoundJob& sweep, const std::string& trial, SweepForm form);
/// What a trial printed, or the workers of all.
Path log_of_sweep(const FoundJob& sweep, const std::string& trial);
/// A word among them is a sweep's file.
bool names_a_sweep(const Arguments& arguments);
int submit_sweep(const Arguments& arguments);
/// `trial`: "" for the whole sweep.
int stop_sweep(const FoundJob& sweep, const std::string& trial);

}  // namespace muster
