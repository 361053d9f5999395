// SPDX-License-Identifier: Apache-2.0
#include "launcher/sweep/text_grid.h"

#include <algorithm>

namespace muster {
namespace {

constexpr char escape = '\x1b';

bool starts_character(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) != 0x80;
}

/// Behind the escape sequence that begins here.
std::size_t behind_escape(std::string_view text, std::size_t at) {
  const auto end = text.find('m', at);
  return end == std::string_view::npos ? text.size() : end + 1;
}

}  // namespace

std::string coloured(bool has_colours, std::string_view code, const std::string& text) {
  return has_colours && !text.empty() ? "\x1b[" + std::string(code) + "m" + text + "\x1b[0m" : text;
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == escape) {
      at = behind_escape(text, at);
    } else {
      columns += starts_character(text[at++]) ? 1 : 0;
    }
  }
  return columns;
}

std::string fitted(const std::string& text, std::size_t columns) {
  if (columns_of(text) <= columns) {
    return text;
  }
  std::size_t shown = 0;
  bool is_coloured = false;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == escape) {
      at = behind_escape(text, at);
      is_coloured = true;
    } else if (starts_character(text[at]) && ++shown >= columns) {
      return text.substr(0, at) + "…" + (is_coloured ? "\x1b[0m" : "");
    } else {
      ++at;
    }
  }
  return text;
}

std::string TextGrid::line(const std::vector<std::string>& cells,
                           const std::vector<std::size_t>& widths) const {
  std::string text;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const std::string room(widths[i] - std::min(widths[i], columns_of(cells[i])), ' ');
    text += "  " + (headings_[i].side == Side::right ? room + cells[i] : cells[i] + room);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::vector<std::string> TextGrid::lines(std::size_t columns, bool has_colours) const {
  if (rows_.empty()) {
    return {};
  }
  std::vector<std::string> names;
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < headings_.size(); ++i) {
    names.push_back(headings_[i].text);
    widths.push_back(columns_of(names.back()));
    for (const auto& row : rows_) {
      widths.back() = std::max(widths.back(), columns_of(row[i]));
    }
  }
  std::vector<std::string> result{coloured(has_colours, "2", fitted(line(names, widths), columns))};
  for (const auto& row : rows_) {
    result.push_back(fitted(line(row, widths), columns));
  }
  return result;
}

}  // namespace muster
