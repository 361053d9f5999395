// SPDX-License-Identifier: Apache-2.0
#include "launcher/doctor/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "launcher/cli/command.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

const char* word_of(Finding::State state) {
  switch (state) {
    case Finding::State::good:
      return "good";
    case Finding::State::poor:
      return "poor";
    case Finding::State::missing:
      break;
  }
  return "missing";
}

const char* mark_of(Finding::State state) {
  switch (state) {
    case Finding::State::good:
      return "ok";
    case Finding::State::poor:
      return "!";
    case Finding::State::missing:
      break;
  }
  return "-";
}

}  // namespace

std::vector<Finding> examine(World& world, const std::string& directory) {
  auto findings = examine_software(world);
  std::ranges::move(examine_machine(world, directory), std::back_inserter(findings));
  return findings;
}

std::string findings_text(const std::vector<Finding>& findings) {
  std::string text;
  std::string remedies;
  for (const auto& finding : findings) {
    text += fmt::format("  {:>2}  {:<14}{}\n", mark_of(finding.state), finding.name, finding.value);
    if (!finding.remedy.empty()) {
      remedies += fmt::format("  {}: {}\n", finding.name, finding.remedy);
    }
  }
  return bold("This machine") + "\n" + text +
         (remedies.empty() ? "" : "\n" + bold("What is missing") + "\n" + remedies);
}

std::string findings_json(const std::vector<Finding>& findings) {
  nlohmann::ordered_json parts;
  bool ok = true;
  for (const auto& finding : findings) {
    auto& part = parts[finding.part];
    part["state"] = word_of(finding.state);
    part["value"] = finding.value;
    if (!finding.remedy.empty()) {
      part["remedy"] = finding.remedy;
    }
    const bool is_needed = finding.part == "rank_program" || finding.part == "shared_memory";
    ok = ok && !(is_needed && finding.state == Finding::State::missing);
  }
  const nlohmann::ordered_json whole{{"ok", ok}, {"parts", parts}};
  return whole.dump(2) + "\n";
}

}  // namespace muster
