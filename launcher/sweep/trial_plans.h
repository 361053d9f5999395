/// What a sweep's settings say about its trials: how many at once, as processes or as threads of
/// workers, and what either is told.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "hpo/study_setup.h"
#include "launcher/engine/resources.h"
#include "launcher/sweep/program_trial.h"
#include "launcher/sweep/sweep_table.h"
#include "runtime/config/sweep.h"

namespace muster {

/// Trials are a Muster job's, not a program's.
inline bool is_job(const SweepSettings& settings) {
  return settings.trial.job.has_value();
}
/// A trial is processes of its own (tier B): any program, and jobs of several ranks.
inline bool needs_processes(const SweepSettings& settings) {
  return !is_job(settings) || settings.trial.ranks > 1;
}
/// A trial goes on where it was paused.
inline bool resumes(const SweepSettings& settings) {
  return settings.trial.resumes.value_or(is_job(settings));
}

/// sweeps/NAME as an absolute path.
Path sweep_directory(const SweepSettings& settings);
hpo::StudySetup setup_of(const SweepSettings& settings);

/// Trials run on this machine's cards.
bool uses_cards(const SweepSettings& settings, const Machine& machine);
/// What a worker for trials as threads sees of its machine's cards from here on: its own, or none.
/// To be called before CUDA is first asked.
void see_cards_of_worker(const SweepSettings& settings);
/// Workers for jobs of one rank on this machine: one a card, or one for all cores, unless somebody
/// has said how many.
std::size_t workers_on(const SweepSettings& settings, const Machine& machine);
/// Trials at once on this machine, before anything is measured.
std::size_t trials_at_once(const SweepSettings& settings, const Machine& machine);
/// What one of so many slots holds of the machine. Not known where trials share a GPU as far as
/// measuring shows that it pays.
SlotCost slot_cost(const SweepSettings& settings, const Machine& machine);
/// For trials as processes. Throws bad_input at a metric's expression that is none. `muster`: the
/// program that trains jobs of several ranks.
ProgramTrialPlan program_plan(const SweepSettings& settings, const Path& root,
                              const Environment& environment, const std::string& muster);

/// What a worker for trials of a Muster job is told.
std::vector<std::string> job_worker_words(const SweepSettings& settings);
/// What a worker of this sweep is told, wherever it runs: a command line for `muster-rank
/// --worker`, or, where trials are processes, `--programs` and the directory in which the sweep was
/// begun.
std::vector<std::string> worker_words(const SweepSettings& settings);

}  // namespace muster
