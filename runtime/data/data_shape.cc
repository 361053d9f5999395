// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/data_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr double most_implied_classes = 1000;

bool is_float(h5::Scalar scalar) {
  return h5::name_of(scalar).find("float") != std::string_view::npos;
}

std::optional<std::uint64_t> first_row(const Column& labels,
                                       const std::function<bool(float)>& is_it) {
  for (std::uint64_t row = 0; row < labels.info().rows; ++row) {
    float value = 0;
    to_float(labels.row(row), labels.info().scalar, 1, {}, &value);
    if (is_it(value)) {
      return row;
    }
  }
  return std::nullopt;
}

/// Whole numbers, of which some are negative: classes with a wrong one among them would train as
/// values in silence.
[[noreturn]] void ask_what_they_mean(const Column& labels) {
  const auto row = first_row(labels, [](float value) { return value < 0; }).value_or(0);
  float value = 0;
  to_float(labels.row(row), labels.info().scalar, 1, {}, &value);
  throw Error(Fault::bad_input,
              fmt::format("{}, row {}: label {} is negative, so the labels are no classes (0, 1, "
                          "2 ...); correct the data, or set data.task = values to learn numbers",
                          labels.info().name, row, value));
}

/// One wrong label would ask for a layer that no memory holds.
std::int64_t implied_classes(const Column& labels, const LabelFacts& facts) {
  const auto rows = static_cast<double>(labels.info().rows);
  if (facts.most >= std::max(most_implied_classes, rows)) {
    const auto most = static_cast<float>(facts.most);
    const auto row = first_row(labels, [most](float value) { return value >= most; }).value_or(0);
    throw Error(
        Fault::bad_input,
        fmt::format("{}, row {}: label {:.0f} would make {:.0f} classes of {:.0f} rows; correct "
                    "the data, set data.classes if it is right, or data.task = values",
                    labels.info().name, row, facts.most, facts.most + 1, rows));
  }
  return static_cast<std::int64_t>(facts.most) + 1;
}

bool are_classes(const DataSettings& settings, const Column& labels, const LabelFacts& facts) {
  const bool is_single = h5::elements_of(labels.info().row_shape) == 1;
  if (settings.task == "classes") {
    if (!is_single) {
      throw Error(
          Fault::bad_input,
          fmt::format("{}: {} labels a row, but data.task = classes takes one number; store the "
                      "index of the class",
                      labels.info().name, h5::text_of(labels.info().row_shape)));
    }
    return true;
  }
  if (settings.task != "auto") {
    return false;
  }
  const bool look_like_classes =
      is_single && facts.are_whole &&
      (!is_float(labels.info().scalar) || facts.most < most_implied_classes);
  if (look_like_classes && facts.least < 0 && settings.classes == 0) {
    ask_what_they_mean(labels);
  }
  return look_like_classes;
}

std::vector<std::int64_t> to_signed(const h5::Shape& shape) {
  return {shape.begin(), shape.end()};
}

}  // namespace

std::vector<std::int64_t> feature_shape(const DataSettings& settings, const ColumnInfo& info) {
  if (settings.shape.empty() || settings.format == "synthetic") {
    return to_signed(info.row_shape.empty() ? h5::Shape{1} : info.row_shape);
  }
  const h5::Shape wanted = parse_shape(settings.shape, "data.shape");
  if (h5::elements_of(wanted) != h5::elements_of(info.row_shape)) {
    throw Error(Fault::bad_input,
                fmt::format("data.shape = {} has {} values, but a row of {} has {} ({})",
                            settings.shape, h5::elements_of(wanted), info.name,
                            h5::elements_of(info.row_shape), h5::text_of(info.row_shape)));
  }
  return to_signed(wanted);
}

LabelFacts look_at(const Column& labels) {
  LabelFacts facts;
  const std::size_t width = h5::elements_of(labels.info().row_shape);
  std::vector<float> values(width);
  std::vector<std::int64_t> whole(width);
  const Normalisation as_it_is;
  for (std::uint64_t row = 0; row < labels.info().rows; ++row) {
    const std::byte* from = labels.row(row);
    facts.are_whole = to_int64(from, labels.info().scalar, width, whole.data()) && facts.are_whole;
    to_float(from, labels.info().scalar, width, as_it_is, values.data());
    const auto [low, high] = std::ranges::minmax(values);
    facts.least = std::min(facts.least, static_cast<double>(low));
    facts.most = std::max(facts.most, static_cast<double>(high));
  }
  return facts;
}

void check_rows(const Table& table) {
  const ColumnInfo& features = table.features->info();
  const ColumnInfo& labels = table.labels->info();
  if (features.rows != labels.rows) {
    throw Error(Fault::bad_input,
                fmt::format("{} has {} rows, but {} has {} labels; they must belong together",
                            features.name, features.rows, labels.name, labels.rows));
  }
}

DataShape shape_of(const DataSettings& settings, const Table& table, const LabelFacts& facts) {
  DataShape shape{.features = feature_shape(settings, table.features->info()), .label_shape = {}};
  if (are_classes(settings, *table.labels, facts)) {
    shape.classes = settings.classes > 0 ? settings.classes
                    : table.classes > 0  ? table.classes
                                         : implied_classes(*table.labels, facts);
    return shape;
  }
  shape.labels = DataShape::Labels::values;
  shape.label_shape = to_signed(table.labels->info().row_shape);
  return shape;
}

void check_labels(const Column& labels, const DataShape& shape, const LabelFacts& facts) {
  const bool is_fine =
      facts.are_whole && facts.least >= 0 && facts.most < static_cast<double>(shape.classes);
  if (shape.labels != DataShape::Labels::classes || is_fine) {
    return;
  }
  for (std::uint64_t row = 0; row < labels.info().rows; ++row) {
    float value = 0;
    std::int64_t whole = 0;
    to_float(labels.row(row), labels.info().scalar, 1, {}, &value);
    const bool is_class = to_int64(labels.row(row), labels.info().scalar, 1, &whole) &&
                          whole >= 0 && whole < shape.classes;
    if (!is_class) {
      throw Error(
          Fault::bad_input,
          fmt::format(
              "{}, row {}: label {} is none of the {} classes (0 to {}); correct the data, or set "
              "data.classes, or data.task = values",
              labels.info().name, row, value, shape.classes, shape.classes - 1));
    }
  }
}

}  // namespace muster
