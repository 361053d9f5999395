// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "runtime/base/text.h"
#include "runtime/config/bindings.h"
#include "runtime/config/keys.h"

namespace muster {
namespace {

constexpr std::size_t widest_option = 34;

std::string option_of(const Keys::Impl::Declared& declared) {
  const auto& rules = declared.key.rules;
  std::string word = rules.placeholder.empty() ? declared.binding.type_word : rules.placeholder;
  if (rules.placeholder.empty() && !rules.words.empty()) {
    word = join(rules.words, "|");
    if (rules.takes_plugin || word.size() + declared.name.size() > widest_option) {
      word = "WORD";
    }
  }
  return "  --" + declared.name + (declared.binding.is_flag ? "" : " " + word);
}

std::string description_of(const Keys::Impl::Declared& declared) {
  std::string text = declared.help;
  const auto& rules = declared.key.rules;
  if (!rules.words.empty() && option_of(declared).ends_with("WORD")) {
    text += ": " + join(rules.words, ", ") + (rules.takes_plugin ? ", plugin:LIB.so" : "");
  }
  if (declared.binding.is_repeated) {
    text += " (may be repeated)";
  }
  const bool is_off =
      declared.binding.is_flag && declared.fallback == std::vector<std::string>{"false"};
  const std::string fallback = declared.fallback.empty() ? "" : declared.fallback.front();
  return fallback.empty() || is_off ? text : text + " [" + fallback + "]";
}

/// Words in lines of at most `width`, the second and later ones indented.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t width) {
  std::string result;
  std::size_t column = indent;
  for (const auto& word : words(text)) {
    if (column != indent && column + 1 + word.size() > width) {
      result += "\n" + std::string(indent, ' ');
      column = indent;
    }
    if (column != indent) {
      result += ' ';
      ++column;
    }
    result += word;
    column += word.size();
  }
  return result;
}

std::string option_lines(const std::string& option, const std::string& description,
                         std::size_t indent, std::size_t width) {
  std::string text = option;
  if (option.size() + 2 > indent) {
    text += "\n" + std::string(indent, ' ');
  } else {
    text.resize(indent, ' ');
  }
  return text + wrapped(description, indent, width) + "\n";
}

std::string heading_of(const Keys::Impl::Section& section) {
  if (section.name.empty()) {
    return section.heading.empty() ? "Options" : section.heading;
  }
  return section.heading.empty() ? "[" + section.name + "]"
                                 : "[" + section.name + "] " + section.heading;
}

}  // namespace

std::string help_text(const Keys& keys, int width, const std::optional<std::string>& section) {
  const auto& impl = keys.impl();
  std::size_t indent = 0;
  for (const auto& each : impl.declared) {
    if (!each.key.rules.is_hidden && option_of(each).size() <= widest_option) {
      indent = std::max(indent, option_of(each).size() + 2);
    }
  }
  const auto columns = static_cast<std::size_t>(std::max(width, 60));
  std::string text;
  for (const auto& group : impl.sections) {
    std::string lines;
    for (const auto& each : impl.declared) {
      if (each.section == group.name && !each.key.rules.is_hidden) {
        lines += option_lines(option_of(each), description_of(each), indent, columns);
      }
    }
    for (const auto& open : impl.open) {
      if (open.section() == group.name) {
        lines += option_lines("  --" + open.prefix + ".KEY TEXT", open.help, indent, columns);
      }
    }
    if (!lines.empty() && (!section || *section == group.name)) {
      text += (text.empty() ? "" : "\n") + heading_of(group) + "\n" + lines;
    }
  }
  return text;
}

}  // namespace muster
