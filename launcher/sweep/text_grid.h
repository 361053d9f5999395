/// TextGrid: cells under headings, columns as wide as what is in them, cut where the terminal ends.
/// A character is a column; colours take none.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

/// Text in a colour of the terminal, such as "32" for green; plain where colours are off.
std::string coloured(bool has_colours, std::string_view code, const std::string& text);
/// Columns that a text takes.
std::size_t columns_of(std::string_view text);
/// Cut to so many columns, with an ellipsis where something is missing.
std::string fitted(const std::string& text, std::size_t columns);

class TextGrid {
 public:
  enum class Side { left, right };
  /// A column; right is for numbers.
  void add_column(std::string heading, Side side) {
    headings_.push_back({std::move(heading), side});
  }
  void add_row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// Indented by two; the heading dim where there are colours. No lines without rows.
  std::vector<std::string> lines(std::size_t columns, bool has_colours) const;

 private:
  struct Heading {
    std::string text;
    Side side;
  };
  std::string line(const std::vector<std::string>& cells,
                   const std::vector<std::size_t>& widths) const;
  std::vector<Heading> headings_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace muster
