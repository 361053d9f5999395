// SPDX-License-Identifier: Apache-2.0
#include "launcher/slurm/script.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Directives = std::vector<std::pair<std::string, std::string>>;

/// Ours first, in a fixed order; what the user says for the same key takes its place, the rest
/// follows.
Directives merged(const ScriptSpec& spec) {
  const std::string log = spec.array.empty() ? "slurm-%j.log" : "slurm-%A_%a.log";
  Directives all{{"job-name", spec.name},
                 {"ntasks", std::to_string(spec.tasks)},
                 {"output", (spec.run / "log" / log).string()},
                 {"open-mode", "append"},
                 {"requeue", ""},
                 {"signal", "B:USR1@120"}};
  if (!spec.array.empty()) {
    all.emplace_back("array", spec.array);
  }
  if (!spec.dependency.empty()) {
    all.emplace_back("dependency", spec.dependency);
  }
  for (const auto& [key, value] : spec.directives) {
    const auto same = std::ranges::find_if(all, [&](const auto& one) { return one.first == key; });
    if (same == all.end()) {
      all.emplace_back(key, value);
    } else {
      same->second = value;
    }
  }
  return all;
}

std::string quoted_words(const std::vector<std::string>& command) {
  std::vector<std::string> words;
  for (const auto& word : command) {
    words.push_back(shell_quoted(word));
  }
  return join(words, " ");
}

}  // namespace

std::string batch_script(const ScriptSpec& spec) {
  std::string text = fmt::format(
      "#!/bin/bash\n# {}: written by `{}`. Edit it as you like; sbatch takes it as it is.\n",
      spec.name, spec.source);
  for (const auto& [key, value] : merged(spec)) {
    const bool flag = value.empty() || value == "true";
    const bool quoted = value.find_first_of(" \t") != std::string::npos;
    text += flag     ? fmt::format("#SBATCH --{}\n", key)
            : quoted ? fmt::format("#SBATCH --{}=\"{}\"\n", key, value)
                     : fmt::format("#SBATCH --{}={}\n", key, value);
  }
  for (const auto& line : spec.setup) {
    text += line + "\n";
  }
  text += fmt::format("cd {}\n", shell_quoted(spec.directory.string()));
  text += quoted_words(spec.command);
  text += spec.array.empty()
              ? " &\n"
              : fmt::format(" --name {}-$SLURM_ARRAY_TASK_ID &\n", shell_quoted(spec.name));
  // A task of an array has a number of its own, but that of the last one means them all.
  const std::string job =
      spec.array.empty() ? "$SLURM_JOB_ID" : "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID";
  text += R"sh(muster=$!
# Time is nearly up, or the job is asked to leave: muster saves and exits 75.
trap 'again=1; told=1; kill -USR1 $muster' USR1 TERM
again=1
while [ $again ]; do again=; wait $muster; code=$?; done
# Saved and to be continued. A job that was cancelled says COMPLETING here and must not come back.
)sh";
  const std::string excluded =
      spec.array.empty() ? shell_quoted((spec.run / "exclude").string())
                         : shell_quoted(spec.run.string()) + "-$SLURM_ARRAY_TASK_ID/exclude";
  text += fmt::format(
      "if [ $code -eq 75 ] && [ \"$(squeue -h -j {0} -o %T)\" = RUNNING ]; then\n"
      "  scontrol requeue {0} || exit 75   # a site may requeue on 75 itself (RequeueExit)\n"
      "  [ -s {1} ] && scontrol update JobId={0} ExcNodeList=$(cat {1})\n",
      job, excluded);
  text +=
      "fi\n# Told to leave and not saved: Slurm itself requeues a job that it preempts, if it is "
      "the one to end it.\n";
  text += "[ $code -eq 76 ] && [ $told ] && sleep 600\nexit $code\n";
  return text;
}

std::string job_id_of(const std::string& answer) {
  for (const auto& line : split(answer, '\n')) {
    const auto parts = words(line);
    const std::string last = parts.empty() ? "" : parts.back();
    const std::string id = last.substr(0, last.find(';'));
    const bool ours = line.starts_with("Submitted batch job") || parts.size() == 1;
    if (ours && parse_int(id)) {
      return id;
    }
  }
  throw Error(Fault::io, fmt::format("sbatch did not take the job: {}", trim(answer)));
}

}  // namespace muster
