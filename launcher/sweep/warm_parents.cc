// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/warm_parents.h"

#include <fmt/format.h>

#include <vector>

#include "hpo/warm_start.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

struct Parent {
  hpo::EarlierResults results;
  bool is_identical = false;
};

bool same_trial(const SweepSettings& a, const SweepSettings& b) {
  const auto channels = [](const SweepSettings& settings) {
    std::string text;
    for (const auto& entry : settings.trial.channels) {
      text += entry.key + "=" + entry.value + "\n";
    }
    return text;
  };
  return a.trial.job == b.trial.job && a.trial.command == b.trial.command &&
         channels(a) == channels(b);
}

Parent parent_of(const std::string& name, const hpo::Study& study, const SweepSettings& settings) {
  if (name.ends_with(".csv")) {
    return {.results = hpo::results_in_csv(read_file(name), name, study.setup()),
            .is_identical = true};
  }
  const Path root = Path(settings.sweeps) / name;
  const auto text = read_file_if_there(root / "sweep.ini");
  if (!text) {
    throw Error(Fault::bad_input,
                fmt::format("tune.warm_start = {}: there is no sweep {} and no such table (*.csv)",
                            name, root.string()));
  }
  SweepSettings earlier;
  Keys keys;
  describe_begun(keys, earlier);
  load_text(keys, *text, (root / "sweep.ini").string());
  const auto setup =
      hpo::study_setup(name, earlier.tune, earlier.search,
                       earlier.trial.resumes.value_or(earlier.trial.job.has_value()));
  return {.results = hpo::results_in_sweep(root / "journal", setup, study.setup()),
          .is_identical = same_trial(earlier, settings)};
}

}  // namespace

void learn_from_parents(hpo::Study& study, const SweepSettings& settings) {
  std::vector<hpo::EarlierResults> similar;
  for (const auto& name : settings.tune.warm_start) {
    auto parent = within("learning from " + name, [&] { return parent_of(name, study, settings); });
    const auto unusable =
        parent.results.unusable == 0
            ? ""
            : fmt::format(" ({} rows do not fit this space)", parent.results.unusable);
    if (parent.is_identical) {
      log::info(fmt::format("{} results of {} count as this sweep's{}",
                            hpo::add_all(study, parent.results), name, unusable));
    } else {
      similar.push_back(std::move(parent.results));
      log::info(fmt::format(
          "{} is similar: its best configurations come first, its rows inform the model{}", name,
          unusable));
    }
  }
  if (!similar.empty()) {
    hpo::enqueue_best(study, similar);
    hpo::lend_rows(study, similar);
  }
  study.commit();
}

}  // namespace muster
