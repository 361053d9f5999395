/// BaseJob: the job of a sweep with some words of its space, the same each time. A key that the job
/// does not have is found here, before any trial. Throws bad_input.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "hpo/space.h"
#include "runtime/base/file_system.h"
#include "runtime/config/job.h"
#include "runtime/config/load.h"
#include "runtime/config/sweep.h"

namespace muster {

class BaseJob {
 public:
  BaseJob(const SweepSettings& settings, const hpo::Space& space);

  /// In the sweep's directory: one that came to a value goes on with the job that it had.
  void settle(const Path& root, const std::string& name, bool has_value) const;

 private:
  JobSettings job_;
  Keys keys_;
  Resolved now_;
};

}  // namespace muster
