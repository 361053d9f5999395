// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/launch_settings.h"

#include <algorithm>
#include <cctype>

#include "runtime/base/log.h"

namespace muster {
namespace {

const std::vector<std::string> levels{"debug", "info", "warning", "error"};  // as log::Level

}  // namespace

void describe_launch(Keys& keys, LaunchSettings& launch, const LaunchWords& words) {
  keys.section("", words.heading);
  keys.add("name", launch.name, words.name).may_change().placeholder("NAME");
  keys.add("ranks", launch.ranks, words.ranks).at_least(0).may_change();
  keys.add("hosts", launch.hosts,
           "'a:2,b:2' or a host file; empty is this machine, or Slurm's nodes")
      .may_change()
      .placeholder("HOSTS");
  keys.add("engine", launch.engine, "What starts the ranks")
      .one_of({"auto", "local", "mpirun", "slurm"})
      .may_change();
  keys.add_seconds("max_runtime", launch.max_runtime, "Time over all attempts; then save and stop")
      .above(0)
      .may_change();
  keys.add("log_level", launch.log_level, "Least level that is logged").one_of(levels).may_change();
  keys.check("name", [&launch]() -> std::optional<std::string> {
    return launch.name.empty() ? std::nullopt : bad_name(launch.name);
  });
}

void heed_log_level(const LaunchSettings& launch) {
  const auto found = std::ranges::find(levels, launch.log_level);
  log::set_threshold(static_cast<log::Level>(found - levels.begin()));
}

std::optional<std::string> bad_name(const std::string& name) {
  const auto is_plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '+' || c == '=';
  };
  if (name.empty() || name.front() == '.' || name.front() == '-' || name.size() > 200 ||
      !std::ranges::all_of(name, is_plain)) {
    return "the name '" + name +
           "' cannot be a directory: use letters, digits and - _ . + =, not starting with - or .";
  }
  return std::nullopt;
}

}  // namespace muster
