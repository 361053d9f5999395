// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/base_job.h"

#include "runtime/base/error.h"
#include "runtime/base/random.h"

namespace muster {

BaseJob::BaseJob(const SweepSettings& settings, const hpo::Space& space) {
  describe(keys_, job_);
  Sources sources{.file = *settings.trial.job, .environment = {}, .arguments = {}};
  Random random(settings.tune.seed);
  for (const auto& [key, word] : space.params(space.sample(random))) {
    sources.arguments.push_back("--" + key + "=" + word);
  }
  now_ = within("checking that the job takes what [search] searches",
                [&] { return load(keys_, sources); });
}

void BaseJob::settle(const Path& root, const std::string& name, bool has_value) const {
  const Path file = root / "job.ini";
  const auto before = read_file_if_there(file);
  if (before && has_value) {
    require_same_settings(keys_, now_.file_text, *before, name, "the job of " + root.string());
  }
  write_file_durably(file, now_.file_text);
}

}  // namespace muster
