// SPDX-License-Identifier: Apache-2.0
#include "runtime/config/resolved.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/config/bindings.h"
#include "runtime/config/ini.h"
#include "runtime/config/load.h"

namespace muster {
namespace {

using Texts = std::vector<std::string>;

constexpr std::size_t comment_column = 36;

std::string line_of(const std::string& key, const std::string& value, const std::string& origin) {
  std::string line = fmt::format("{} = {}", key, value);
  if (!origin.empty()) {
    line = fmt::format("{:<{}} # {}", line, comment_column, origin);
  }
  return line + "\n";
}

std::string key_in_section(const Keys::Impl::Declared& declared) {
  return declared.section.empty() ? declared.name
                                  : declared.name.substr(declared.section.size() + 1);
}

std::string origin_of(const Keys::Impl::Declared& declared, std::size_t value,
                      const Origins& origins) {
  const auto at = origins.find(declared.name);
  if (at == origins.end()) {
    return Origin{}.text();
  }
  return (declared.binding.is_repeated ? at->second[value] : at->second.back()).text();
}

std::string declared_lines(const Keys::Impl& impl, const std::string& section,
                           const Origins* origins) {
  std::string text;
  for (const auto& each : impl.declared) {
    if (each.section != section || each.key.rules.command_only) {
      continue;
    }
    const auto values = each.binding.get();
    for (std::size_t i = 0; i < values.size(); ++i) {
      text += line_of(key_in_section(each), ini_escaped(values[i]),
                      origins == nullptr ? "" : origin_of(each, i, *origins));
    }
  }
  return text;
}

std::string open_lines(const Keys::Impl& impl, const std::string& section, bool explained) {
  std::string text;
  for (const auto& open : impl.open) {
    if (open.section() != section) {
      continue;
    }
    for (const auto& entry : *open.entries) {
      text += line_of(open.lead() + entry.key, entry.value,
                      explained ? entry.origin.text() : std::string());
    }
  }
  return text;
}

/// Keys without a section must come first in a file.
Texts section_names(const Keys::Impl& impl) {
  Texts names{""};
  for (const auto& section : impl.sections) {
    if (!section.name.empty()) {
      names.push_back(section.name);
    }
  }
  return names;
}

std::map<std::string, Texts> values_of(const std::string& text) {
  std::map<std::string, Texts> values;
  for (const auto& entry : read_ini(text, "config.ini").entries) {
    values[entry.key].push_back(entry.value);
  }
  return values;
}

/// The values of an open section, in order, each behind its key.
Texts open_values(const Keys::Impl::Open& open, const std::string& text) {
  Texts values;
  for (const auto& entry : read_ini(text, "config.ini").entries) {
    if (entry.key.starts_with(open.prefix + ".")) {
      values.push_back(entry.key + " = " + entry.value);
    }
  }
  return values;
}

}  // namespace

std::string resolved_text(const Keys& keys, const Origins* origins) {
  const auto& impl = keys.impl();
  std::string text;
  for (const auto& section : section_names(impl)) {
    const std::string lines =
        declared_lines(impl, section, origins) + open_lines(impl, section, origins != nullptr);
    if (!lines.empty()) {
      text += section.empty() ? lines
                              : fmt::format("{}[{}]\n{}", text.empty() ? "" : "\n", section, lines);
    }
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> fixed_values(const Keys& keys) {
  std::vector<std::pair<std::string, std::string>> values;
  for (const auto& each : keys.impl().declared) {
    if (!each.key.rules.changeable && !each.key.rules.command_only) {
      values.emplace_back(each.name, join(each.binding.get(), " "));
    }
  }
  return values;
}

std::vector<std::string> forbidden_differences(const Keys& keys, const std::string& resolved_now,
                                               const std::string& resolved_before) {
  const auto now = values_of(resolved_now);
  const auto before = values_of(resolved_before);
  Texts differences;
  for (const auto& each : keys.impl().declared) {
    const auto value_in = [&](const std::map<std::string, Texts>& values) {
      const auto at = values.find(each.name);
      return at == values.end() ? each.fallback : at->second;
    };
    const auto& rules = each.key.rules;
    if (!rules.changeable && !rules.command_only && value_in(now) != value_in(before)) {
      differences.push_back(each.name);
    }
  }
  for (const auto& open : keys.impl().open) {
    if (!open.key.rules.changeable &&
        open_values(open, resolved_now) != open_values(open, resolved_before)) {
      differences.push_back("[" + open.prefix + "]");
    }
  }
  return differences;
}

void require_same_settings(const Keys& keys, const std::string& resolved_now,
                           const std::string& resolved_before, const std::string& name,
                           const std::string& directory) {
  const auto different = forbidden_differences(keys, resolved_now, resolved_before);
  if (!different.empty()) {
    throw Error(Fault::bad_input,
                fmt::format("{} was begun with other settings; they differ in {}. Take them back, "
                            "or give this one another name: --name {}-2",
                            directory, join(different, ", "), name));
  }
}

}  // namespace muster
