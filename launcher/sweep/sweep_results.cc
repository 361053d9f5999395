// report.html and best/: what a sweep leaves for people.
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "hpo/importance.h"
#include "hpo/sweep_report.h"
#include "launcher/report/report_page.h"
#include "launcher/sweep/program_trial.h"
#include "launcher/sweep/sweep_run.h"
#include "launcher/sweep/trial_plans.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"
#include "runtime/config/job.h"

namespace muster {
namespace {

/// The best as a file that trains it again: the job with its words, or the words alone.
std::string best_config(const SweepSettings& settings, const hpo::SweepState& state,
                        const hpo::Trial& best) {
  const auto params = state.setup().space.params(best.config);
  if (!settings.trial.job) {
    std::string text = "[hyperparameters]\n";
    for (const auto& [key, word] : params) {
      text += fmt::format("{} = {}\n", key, word);
    }
    return text;
  }
  JobSettings job;
  Keys keys;
  describe(keys, job);
  Sources sources{.file = *settings.trial.job, .environment = {}, .arguments = {}};
  for (const auto& [key, word] : params) {
    sources.arguments.push_back("--" + key + "=" + word);
  }
  if (const auto most = state.setup().max_resource()) {  // as long as its trial was to be
    sources.arguments.push_back(fmt::format("--train.epochs={:.0f}", *most));
  }
  if (settings.trial.ranks > 1) {
    sources.arguments.push_back(fmt::format("--ranks={}", settings.trial.ranks));
  }
  sources.arguments.push_back("--name=" + settings.name + "-best");
  return load(keys, sources).file_text;
}

void copy_model(const Path& from, const Path& to) {
  std::error_code code;
  std::filesystem::remove_all(to, code);
  std::filesystem::copy(from, to, std::filesystem::copy_options::recursive, code);
}

/// A program's best as a script that runs it again, as a run of its own.
std::string best_script(const SweepSettings& settings, const hpo::SweepState& state,
                        const hpo::Trial& best) {
  const auto muster = std::filesystem::read_symlink("/proc/self/exe");
  std::vector<std::string> words{muster.string(), "run", "--name=" + settings.name + "-best",
                                 fmt::format("--ranks={}", settings.trial.ranks),
                                 "--arguments=" + settings.trial.arguments};
  for (const auto& [key, word] : state.setup().space.params(best.config)) {
    words.push_back("--hyperparameter." + key + "=" + word);
  }
  const auto most = state.setup().max_resource();
  if (most && settings.tune.resource) {
    words.push_back("--hyperparameter." + *settings.tune.resource + "=" + exact(*most));
  }
  for (const auto& entry : settings.trial.channels) {
    words.push_back("--data." + entry.key + "=" + std::filesystem::absolute(entry.value).string());
  }
  for (const auto& entry : settings.trial.metrics) {
    words.push_back("--metric." + entry.key + "=" + entry.value);
  }
  std::string line;
  for (const auto& word : words) {
    line += shell_quoted(word) + " ";
  }
  return fmt::format(
      "#!/bin/sh\n# Trial {} of {}, with {} = {}, as a run of its own.\n"
      "cd {} || exit\nexec {}\"$@\" -- {}\n",
      best.id, settings.name, state.setup().metric, exact(*best.value),
      shell_quoted(std::filesystem::absolute(settings.trial.directory).string()), line,
      *settings.trial.command);
}

void write_best(const SweepSettings& settings, const hpo::SweepState& state,
                const hpo::Trial& trial, const std::string& config) {
  const Path root = sweep_directory(settings);
  const Path best = root / "best";
  posix_file_system().make_directory(best);
  write_file_atomically(best / (settings.trial.job ? "job.ini" : "config.ini"), config);
  if (settings.trial.command) {
    write_file_atomically(best / "run.sh", best_script(settings, state, trial));
    std::filesystem::permissions(best / "run.sh",
                                 std::filesystem::perms::owner_exec |
                                     std::filesystem::perms::group_exec |
                                     std::filesystem::perms::others_exec,
                                 std::filesystem::perm_options::add);
  }
  copy_model(trial_directory(root / "trials", trial.id) / "model", best / "model");
}

}  // namespace

void write_sweep_results(const SweepSettings& settings, const hpo::SweepState& state, double now) {
  const Path root = sweep_directory(settings);
  hpo::SweepReportExtras extras;
  extras.resource = settings.trial.job ? "epochs" : settings.tune.resource.value_or("reports");
  extras.importance.method = hpo::importance_method();
  const auto* best = state.best();
  try {
    for (const auto& [key, share] :
         hpo::importance(state.setup().space, state.history(), state.history().size())) {
      extras.importance.values.emplace_back(key, share);
    }
    if (best != nullptr) {
      extras.best_config = best_config(settings, state, *best);
      write_best(settings, state, *best, extras.best_config);
    }
    write_file_atomically(root / "trials.csv", hpo::sweep_csv(state));
    write_file_atomically(root / "report.html",
                          report_page(settings.name, hpo::sweep_report(state, now, extras)));
  } catch (
      const std::exception& error) {  // the journal has everything: a report can be written again
    log::warning(fmt::format("the report could not be written: {}", report(error)));
  }
}

}  // namespace muster
