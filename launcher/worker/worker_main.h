/// `muster-rank --worker`: a worker of a sweep. With --spool it finds its sweep by files and joins;
/// else orders come on stdin, events go to stdout. Words for people go to stderr. Ends, with all
/// running trials saved, when its coordinator does or when it is told to.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launcher/worker/trial_worker.h"

namespace muster {

/// `arguments` without the `--worker`: --job FILE --sweep DIR --objective METRIC [--max-resource R]
/// [-- --key=value ...], or --spool DIR [--slots N]. `wants_out`: somebody asked this process to
/// leave.
int worker_main(const std::vector<std::string>& arguments, const std::function<bool()>& wants_out);

/// The words of a worker, as worker_words() writes them, understood.
TrialWorkerPlan worker_plan_from(const std::vector<std::string>& words);

}  // namespace muster
