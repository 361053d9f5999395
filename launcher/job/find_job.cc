// SPDX-License-Identifier: Apache-2.0
#include "launcher/job/find_job.h"

#include <fmt/format.h>

#include <optional>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::optional<FoundJob> job_at(const Path& root) {
  auto& files = posix_file_system();
  const std::string name =
      (root.filename().empty() ? root.parent_path() : root).filename().string();
  if (files.exists(root / "sweep.ini") || files.exists(root / "journal")) {
    return FoundJob{JobKind::sweep, root, name};
  }
  if (files.exists(root / "status.json") || files.exists(root / "config.ini")) {
    return FoundJob{JobKind::run, root, name};
  }
  return std::nullopt;
}

}  // namespace

FoundJob find_job(const std::string& name, const JobRoots& roots) {
  for (const Path& root : {roots.runs, roots.sweeps}) {
    if (auto job = root.empty() ? std::nullopt : job_at(root / name)) {
      return *job;
    }
  }
  if (auto job = job_at(name)) {
    return *job;
  }
  std::vector<std::string> known;
  for (const auto& job : all_jobs(roots)) {
    known.push_back(job.name);
  }
  const auto near = nearest(name, known);
  const auto where = roots.runs.empty()
                         ? fmt::format("sweep '{}' in {}", name, roots.sweeps.string())
                         : fmt::format("run or sweep '{}' in {} or {}", name, roots.runs.string(),
                                       roots.sweeps.string());
  throw Error(Fault::bad_input, fmt::format("there is no {}{}", where,
                                            near ? fmt::format(" (did you mean '{}'?)", *near)
                                            : known.empty() ? "; nothing has run here yet"
                                                            : "; 'muster ls' lists them"));
}

std::vector<FoundJob> all_jobs(const JobRoots& roots) {
  std::vector<FoundJob> jobs;
  for (const Path& root : {roots.runs, roots.sweeps}) {
    if (root.empty()) {
      continue;
    }
    for (const auto& name : posix_file_system().list(root)) {
      if (auto job = job_at(root / name)) {
        jobs.push_back(std::move(*job));
      }
    }
  }
  return jobs;
}

}  // namespace muster
