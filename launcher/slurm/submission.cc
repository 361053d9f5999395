// SPDX-License-Identifier: Apache-2.0
#include "launcher/slurm/submission.h"

#include <fmt/format.h>

#include "launcher/engine/tool.h"
#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::int64_t most_tasks = 100'000;

/// "4", "0-3", "0-15:4"; false where it is none of them.
bool add_range(const std::string& text, std::vector<int>& tasks) {
  const auto halves = split(text, ':');
  const auto ends = split(halves[0], '-');
  const auto first = parse_int(ends[0]);
  const auto last = ends.size() == 2 ? parse_int(ends[1]) : first;
  const auto stride = halves.size() == 2 ? parse_int(halves[1]) : std::optional<std::int64_t>(1);
  if (halves.size() > 2 || ends.size() > 2 || !first || !last || !stride || *first < 0 ||
      *last < *first || *stride < 1 || *last - *first > most_tasks) {
    return false;
  }
  for (auto task = *first; task <= *last; task += *stride) {
    tasks.push_back(static_cast<int>(task));
  }
  return true;
}

}  // namespace

void add_slurm_section(const SlurmSettings& slurm, ScriptSpec& spec) {
  for (const auto& entry : slurm.entries) {
    if (entry.key == "setup") {
      spec.setup.push_back(entry.value);
    } else if (entry.key != "srun") {
      spec.directives.emplace_back(entry.key, entry.value);
    }
  }
}

std::string hand_to_slurm(const ScriptSpec& spec, const Path& script) {
  if (find_program("sbatch").empty()) {
    throw Error(Fault::bad_input,
                "there is no sbatch in PATH: this machine cannot submit to Slurm; --print shows "
                "the script for one that can");
  }
  posix_file_system().make_directory(spec.run / "log");
  write_file_atomically(script, batch_script(spec));
  const auto answer = run_tool({"sbatch", script.string()}, std::chrono::seconds(60));
  if (!answer.ended.finished()) {
    throw Error(Fault::bad_input,
                fmt::format("sbatch refused {}: {}", script.string(), trim(answer.output)));
  }
  return job_id_of(answer.output);
}

std::vector<int> array_tasks(const std::string& array) {
  std::vector<int> tasks;
  for (const auto& range : split(array.substr(0, array.find('%')), ',')) {
    if (!add_range(range, tasks)) {
      throw Error(Fault::bad_input,
                  fmt::format("--array {}: '{}' names no tasks; write 0-9, 0-15:4 or 1,3,5, and "
                              "%2 behind it for two at a time",
                              array, range));
    }
  }
  return tasks;
}

}  // namespace muster
