// SPDX-License-Identifier: Apache-2.0
#include "launcher/engine/slurm_environment.h"

#include <fmt/format.h>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::string value_of(const Environment& environment, const char* name) {
  const auto found = environment.find(name);
  return found == environment.end() ? "" : found->second;
}

int number_of(const Environment& environment, const char* name, int fallback) {
  return static_cast<int>(parse_int(value_of(environment, name)).value_or(fallback));
}

[[noreturn]] void unreadable(std::string_view list) {
  throw Error(
      Fault::bad_input,
      fmt::format("cannot read the node list '{}': is SLURM_JOB_NODELIST as Slurm wrote it?",
                  list));
}

/// The parts between commas that stand outside of brackets.
std::vector<std::string> outer_parts(std::string_view list) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : list) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c == ',' && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  if (depth != 0) {
    unreadable(list);
  }
  return parts;
}

void expand_one(const std::string& part, std::vector<std::string>& names) {
  const auto open = part.find('[');
  if (open == std::string::npos) {
    names.push_back(part);
    return;
  }
  const auto close = part.find(']', open);
  const std::string rest = part.substr(close + 1);
  for (const auto& range : split(part.substr(open + 1, close - open - 1), ',')) {
    const auto ends = split(range, '-');
    const auto first = parse_int(ends.at(0));
    const auto last = ends.size() == 1 ? first : parse_int(ends.at(1));
    if (ends.size() > 2 || !first || !last || *last < *first || *last - *first > 100'000) {
      unreadable(part);
    }
    for (auto number = *first; number <= *last; ++number) {
      expand_one(fmt::format("{}{:0{}}{}", part.substr(0, open), number, ends[0].size(), rest),
                 names);
    }
  }
}

}  // namespace

std::vector<std::string> expand_nodes(std::string_view list) {
  std::vector<std::string> names;
  for (const auto& part : outer_parts(list)) {
    if (!part.empty()) {
      expand_one(part, names);
    }
  }
  return names;
}

std::vector<int> expand_counts(std::string_view list) {
  std::vector<int> counts;
  for (const auto& part : split(list, ',')) {
    const auto open = part.find("(x");
    const auto count = parse_int(part.substr(0, open));
    const auto times = open == std::string::npos
                           ? std::optional<std::int64_t>(1)
                           : parse_int(part.substr(open + 2, part.size() - open - 3));
    if (!count || !times) {
      unreadable(list);
    }
    counts.insert(counts.end(), static_cast<std::size_t>(*times), static_cast<int>(*count));
  }
  return counts;
}

std::optional<SlurmJob> slurm_job(const Environment& environment) {
  const auto id = value_of(environment, "SLURM_JOB_ID");
  if (id.empty()) {
    return std::nullopt;
  }
  SlurmJob job;
  const auto array = value_of(environment, "SLURM_ARRAY_JOB_ID");
  const auto task = value_of(environment, "SLURM_ARRAY_TASK_ID");
  job.id = array.empty() || task.empty() ? id : array + "_" + task;
  job.nodes = expand_nodes(value_of(environment, "SLURM_JOB_NODELIST"));
  if (const auto counts = value_of(environment, "SLURM_TASKS_PER_NODE"); !counts.empty()) {
    job.tasks_per_node = expand_counts(counts);
  }
  if (const auto counts = value_of(environment, "SLURM_JOB_CPUS_PER_NODE"); !counts.empty()) {
    job.cpus_per_node = expand_counts(counts);
  }
  int tasks = 0;
  for (const int count : job.tasks_per_node) {
    tasks += count;
  }
  job.tasks = number_of(environment, "SLURM_NTASKS", tasks > 0 ? tasks : 1);
  job.restarts = number_of(environment, "SLURM_RESTART_COUNT", 0);
  job.is_step = parse_int(value_of(environment, "SLURM_STEP_ID")).has_value();
  return job;
}

}  // namespace muster
