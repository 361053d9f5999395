// SPDX-License-Identifier: Apache-2.0
#include "runtime/comm/launch_context.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

// Slurm gives the batch script, the interactive shell and the external step numbers from here up;
// tasks of srun have small ones.
constexpr std::int64_t first_special_step = 0xfffffff0;

const std::string* find(const Environment& environment, std::string_view name) {
  const auto found = environment.find(name);
  return found == environment.end() || found->second.empty() ? nullptr : &found->second;
}

bool has(const Environment& environment, std::string_view name) {
  return find(environment, name) != nullptr;
}

int whole_number(std::string_view name, std::string_view text) {
  const auto number = parse_int(text);
  if (!number || *number < 0 || *number > std::numeric_limits<int>::max()) {
    throw Error(Fault::bad_input, fmt::format("{}={} is not a number of ranks: unset it, or start "
                                              "again with the launcher that set it",
                                              name, text));
  }
  return static_cast<int>(*number);
}

int number(const Environment& environment, std::string_view name, int otherwise) {
  const auto* text = find(environment, name);
  return text == nullptr ? otherwise : whole_number(name, *text);
}

void check_place(const LaunchContext& context) {
  const bool holds = context.rank < context.size && context.local_rank < context.local_size &&
                     context.local_size <= context.size;
  if (!holds) {
    throw Error(Fault::bad_input, fmt::format("{} says rank {} of {}, local rank {} of {}, which "
                                              "cannot be: variables of two launchers are mixed; "
                                              "start again from a clean shell",
                                              name_of(context.starter), context.rank, context.size,
                                              context.local_rank, context.local_size));
  }
}

void take_word(LaunchContext& context, std::string_view word) {
  const auto equals = word.find('=');
  const auto key = word.substr(0, equals);
  const auto value =
      equals == std::string_view::npos ? std::string_view() : word.substr(equals + 1);
  if (key == "control") {
    context.control = value;
    return;
  }
  const std::array<std::pair<std::string_view, int*>, 4> numbers{
      {{"rank", &context.rank},
       {"size", &context.size},
       {"local_rank", &context.local_rank},
       {"local_size", &context.local_size}}};
  for (const auto& [name, into] : numbers) {
    if (key == name) {
      *into = whole_number(fmt::format("MUSTER_LAUNCH: {}", name), value);
      return;
    }
  }
  throw Error(
      Fault::bad_input,
      fmt::format("MUSTER_LAUNCH holds '{}', which this version of muster does not know: use one "
                  "installation for muster and its ranks, or unset MUSTER_LAUNCH",
                  word));
}

LaunchContext from_muster(std::string_view text) {
  LaunchContext context;
  context.starter = Starter::muster;
  for (const auto& word : words(text)) {
    take_word(context, word);
  }
  check_place(context);
  if (context.size > 1 && context.control.empty()) {
    throw Error(Fault::bad_input,
                "MUSTER_LAUNCH names several ranks and no control page: unset it, `muster` sets it "
                "for its ranks");
  }
  return context;
}

LaunchContext from_open_mpi(const Environment& environment) {
  LaunchContext context;
  context.starter = Starter::open_mpi;
  context.rank = number(environment, "OMPI_COMM_WORLD_RANK", 0);
  context.size = number(environment, "OMPI_COMM_WORLD_SIZE", 1);
  context.local_rank = number(environment, "OMPI_COMM_WORLD_LOCAL_RANK", 0);
  context.local_size = number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE", 1);
  check_place(context);
  return context;
}

// PMIx says the rank only; Slurm, which is who starts us so, says the rest.
LaunchContext from_pmix(const Environment& environment) {
  LaunchContext context;
  context.starter = Starter::pmix;
  context.rank = number(environment, "PMIX_RANK", 0);
  context.size =
      number(environment, "SLURM_STEP_NUM_TASKS", number(environment, "SLURM_NTASKS", 0));
  context.local_rank = number(environment, "SLURM_LOCALID", 0);
  context.local_size = 0;
  return context;
}

bool is_task_of_srun(const Environment& environment) {
  const auto* step = find(environment, "SLURM_STEP_ID");
  const auto id = step == nullptr ? std::nullopt : parse_int(*step);
  return has(environment, "SLURM_PROCID") && id && *id >= 0 && *id < first_special_step;
}

void refuse_srun_without_pmix(const Environment& environment) {
  const int tasks =
      number(environment, "SLURM_STEP_NUM_TASKS", number(environment, "SLURM_NTASKS", 1));
  if (tasks > 1) {
    throw Error(Fault::bad_input,
                fmt::format("srun started {} tasks without PMIx, so they cannot find each other: "
                            "add --mpi=pmix (srun --mpi=pmix ...). "
                            "If `srun --mpi=list` does not show pmix, use mpirun inside the "
                            "allocation, or `muster train`",
                            tasks));
  }
}

void refuse_other_mpi(const Environment& environment) {
  if (const int size = number(environment, "PMI_SIZE", 1); size > 1) {
    throw Error(Fault::bad_input,
                fmt::format("the mpiexec of another MPI (MPICH or Intel MPI) started these {} "
                            "ranks, and muster is built with Open MPI: "
                            "start them with Open MPI's mpirun, or with `muster train`",
                            size));
  }
}

std::vector<std::string> missing_of_torchrun(const Environment& environment) {
  std::vector<std::string> missing;
  for (const auto* name :
       {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) {
    if (!has(environment, name)) {
      missing.emplace_back(name);
    }
  }
  return missing;
}

LaunchContext from_torchrun(const Environment& environment) {
  LaunchContext context;
  context.starter = Starter::torchrun;
  context.rank = number(environment, "RANK", 0);
  context.size = number(environment, "WORLD_SIZE", 1);
  context.local_rank = number(environment, "LOCAL_RANK", 0);
  context.local_size = number(environment, "LOCAL_WORLD_SIZE", 1);
  check_place(context);
  if (context.local_size != context.size) {
    throw Error(Fault::bad_input, fmt::format("torchrun started {} ranks on several machines; "
                                              "muster reaches other machines over MPI: use mpirun, "
                                              "srun --mpi=pmix, or muster train --hosts",
                                              context.size));
  }
  const auto* restart = find(environment, "TORCHELASTIC_RESTART_COUNT");
  const auto* run = find(environment, "TORCHELASTIC_RUN_ID");
  context.meeting =
      fmt::format("{}-{}-{}-{}", ::getppid(), environment.find("MASTER_PORT")->second,
                  run == nullptr ? "none" : *run, restart == nullptr ? "0" : *restart);
  return context;
}

/// Half a torchrun set with several ranks would start that many lone jobs, each thinking that it is
/// the whole.
void refuse_half_of_torchrun(const Environment& environment,
                             const std::vector<std::string>& missing) {
  const auto* size = find(environment, "WORLD_SIZE");
  const bool several = size != nullptr && parse_int(*size).value_or(1) > 1;
  if (several && has(environment, "RANK")) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "RANK and WORLD_SIZE={} are set but not {}: set all that torchrun sets, or unset these",
            *size, join(missing, ", ")));
  }
}

}  // namespace

std::string_view name_of(Starter starter) {
  constexpr std::array<std::string_view, 5> names{"muster", "mpirun", "srun --mpi=pmix", "torchrun",
                                                  "nobody"};
  return names.at(static_cast<std::size_t>(starter));
}

Environment process_environment() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) {
      environment.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return environment;
}

LaunchContext launch_context(const Environment& environment) {
  if (const auto* text = find(environment, "MUSTER_LAUNCH")) {
    return from_muster(*text);
  }
  if (has(environment, "OMPI_COMM_WORLD_RANK")) {
    return from_open_mpi(environment);
  }
  if (has(environment, "PMIX_RANK")) {
    return from_pmix(environment);
  }
  if (is_task_of_srun(environment)) {
    refuse_srun_without_pmix(environment);
    return {};
  }
  refuse_other_mpi(environment);
  const auto missing = missing_of_torchrun(environment);
  if (missing.empty()) {
    return from_torchrun(environment);
  }
  refuse_half_of_torchrun(environment, missing);
  return {};
}

std::string launch_words(const LaunchContext& context) {
  return fmt::format("rank={} size={} local_rank={} local_size={}{}{}", context.rank, context.size,
                     context.local_rank, context.local_size,
                     context.control.empty() ? "" : " control=", context.control);
}

bool places_a_rank(std::string_view variable) {
  constexpr std::array<std::string_view, 11> prefixes{
      "OMPI_",       "PMIX_",          "PMI_",       "PMI2_",     "TORCHELASTIC_", "SLURM_STEP_",
      "SLURM_SRUN_", "SLURM_CPU_BIND", "SLURM_PMIX", "SLURM_MPI", "SLURM_TASK_"};
  constexpr std::array<std::string_view, 14> names{
      "MUSTER_LAUNCH", "RANK",         "WORLD_SIZE",  "LOCAL_RANK",     "LOCAL_WORLD_SIZE",
      "GROUP_RANK",    "MASTER_ADDR",  "MASTER_PORT", "SLURM_PROCID",   "SLURM_LOCALID",
      "SLURM_NODEID",  "SLURM_STEPID", "SLURM_GTIDS", "MPI_LOCALRANKID"};
  return std::ranges::any_of(prefixes, [&](auto prefix) { return variable.starts_with(prefix); }) ||
         std::ranges::find(names, variable) != names.end();
}

Environment without_places(Environment environment) {
  std::erase_if(environment, [](const auto& entry) { return places_a_rank(entry.first); });
  return environment;
}

}  // namespace muster
