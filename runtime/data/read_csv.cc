// SPDX-License-Identifier: Apache-2.0
// CSV: numbers only, one row a line, an optional header, one column of labels. Parsed once per node
// into float32 and float64.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/data/table.h"

namespace muster {
namespace {

struct Layout {
  std::vector<std::string> header;  // empty: none
  std::size_t columns = 0;
  std::size_t label = 0;
  std::uint64_t rows = 0;
};

/// Calls `take(line, number)` for every line that is not blank; numbers from 1.
template <class Take>
void each_line(std::string_view text, Take take) {
  std::uint64_t number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = trim(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    ++number;
    if (!line.empty()) {
      take(line, number);
    }
  }
}

std::string_view unquoted(std::string_view cell) {
  cell = trim(cell);
  return cell.size() >= 2 && cell.front() == '"' && cell.back() == '"'
             ? cell.substr(1, cell.size() - 2)
             : cell;
}

std::vector<std::string_view> cells_of(std::string_view line, char separator) {
  std::vector<std::string_view> cells;
  while (true) {
    const std::size_t end = line.find(separator);
    cells.push_back(unquoted(line.substr(0, end)));
    if (end == std::string_view::npos) {
      return cells;
    }
    line = line.substr(end + 1);
  }
}

std::size_t label_column(const DataSettings& settings, const Layout& layout,
                         const std::string& path) {
  const std::string& word = settings.label_column;
  if (word == "first" || word == "last") {
    return word == "first" ? 0 : layout.columns - 1;
  }
  const auto named = std::ranges::find(layout.header, word);
  if (named != layout.header.end()) {
    return static_cast<std::size_t>(named - layout.header.begin());
  }
  const auto number = parse_int(word);
  if (number && *number >= 0 && static_cast<std::size_t>(*number) < layout.columns) {
    return static_cast<std::size_t>(*number);
  }
  throw Error(Fault::bad_input,
              fmt::format("data.label_column = {}: {} has no such column; it has {}{}", word, path,
                          layout.columns,
                          layout.header.empty()
                              ? " columns, numbered from 0"
                              : fmt::format(" columns: {}", fmt::join(layout.header, ", "))));
}

Layout layout_of(const DataSettings& settings, std::string_view text, char separator,
                 const std::string& path) {
  Layout layout;
  each_line(text, [&](std::string_view line, std::uint64_t) {
    if (layout.columns == 0) {
      const auto cells = cells_of(line, separator);
      layout.columns = cells.size();
      if (std::ranges::any_of(cells, [](std::string_view cell) { return !parse_double(cell); })) {
        layout.header.assign(cells.begin(), cells.end());
        return;
      }
    }
    ++layout.rows;
  });
  if (layout.columns < 2 || layout.rows == 0) {
    throw Error(Fault::bad_input,
                fmt::format("{} holds no table of numbers: {} rows of {} columns between '{}'; set "
                            "data.separator",
                            path, layout.rows, layout.columns, separator));
  }
  layout.label = label_column(settings, layout, path);
  return layout;
}

void parse_line(std::string_view line, std::uint64_t number, const Layout& layout, char separator,
                const std::string& path, float* features, double* label) {
  const auto cells = cells_of(line, separator);
  if (cells.size() != layout.columns) {
    throw Error(Fault::bad_input,
                fmt::format("{}:{}: {} columns, but the first line has {}; is the file cut short?",
                            path, number, cells.size(), layout.columns));
  }
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const auto value = parse_double(cells[i]);
    if (!value) {
      throw Error(
          Fault::bad_input,
          fmt::format("{}:{}: column {} holds '{}', which is no number; encode words as numbers "
                      "first",
                      path, number, i, cells[i]));
    }
    if (i == layout.label) {
      *label = *value;
    } else {
      *features++ = static_cast<float>(*value);
    }
  }
}

}  // namespace

Table read_csv(const DataSettings& settings, const TableSource& source, NodeGroup& node) {
  if (settings.separator.size() != 1 && settings.separator != "tab") {
    throw Error(Fault::bad_input, "data.separator must be one character, or the word tab");
  }
  const bool has_tabs = settings.separator == "tab" || Path(source.path).extension() == ".tsv";
  const char separator = has_tabs ? '\t' : settings.separator[0];
  const MappedFile file(source.path, source.role);
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  const Layout layout = layout_of(settings, text, separator, source.path);
  const std::size_t feature_bytes = (layout.columns - 1) * sizeof(float);
  const std::size_t labels_at = layout.rows * feature_bytes + 8 - layout.rows * feature_bytes % 8;
  std::shared_ptr<SharedMemory> memory =
      filled_once(node, labels_at + layout.rows * sizeof(double), [&](std::span<std::byte> into) {
        auto* features = reinterpret_cast<float*>(into.data());
        auto* labels = reinterpret_cast<double*>(into.data() + labels_at);
        bool skips = !layout.header.empty();
        each_line(text, [&](std::string_view line, std::uint64_t number) {
          if (std::exchange(skips, false)) {
            return;
          }
          parse_line(line, number, layout, separator, source.path, features, labels++);
          features += layout.columns - 1;
        });
      });
  const std::byte* base = memory->bytes().data() + 4096;
  ColumnInfo info{.name = source.path,
                  .scalar = h5::Scalar::float32,
                  .row_shape = {layout.columns - 1},
                  .rows = layout.rows};
  Table table;
  table.features = std::make_unique<MemoryColumn>(info, base, feature_bytes, memory, "resident");
  info.scalar = h5::Scalar::float64;
  info.row_shape.clear();
  table.labels =
      std::make_unique<MemoryColumn>(info, base + labels_at, sizeof(double), memory, "resident");
  return table;
}

}  // namespace muster
