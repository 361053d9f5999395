/// StudySetup: a sweep's settings as the tuner needs them: a parsed space, a direction, searcher
/// and scheduler by name. Made from [tune] and [search]; what cannot work together is one
/// Error(bad_input) before the first trial.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include "hpo/completion.h"
#include "hpo/scheduler.h"
#include "hpo/searcher.h"
#include "hpo/space.h"
#include "runtime/config/sweep.h"

namespace muster::hpo {

struct StudySetup {
  std::string name;
  std::string objective = "min loss";  ///< as the user wrote it
  std::string metric = "loss";
  bool maximise = false;
  Space space;
  std::string searcher = "random";
  std::string scheduler = "fifo";
  SearcherOptions searching;
  SchedulerOptions scheduling;
  Limits limits;
  std::uint64_t seed = 0;
  int retries = 1;

  /// The full resource of a trial; nothing where the sweep has none.
  std::optional<double> max_resource() const;
  /// Everything that a journal may not be continued without.
  std::string identity() const;
};

/// `resumes`: a trial can pause and go on from its checkpoint.
StudySetup study_setup(const std::string& name, const TuneSettings& tune,
                       std::span<const Keys::Entry> search, bool resumes);

}  // namespace muster::hpo
