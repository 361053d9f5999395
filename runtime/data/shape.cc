// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <numeric>

#include "runtime/data/dataset.h"

namespace muster {
namespace {

std::size_t product(const std::vector<std::int64_t>& lengths) {
  return static_cast<std::size_t>(
      std::accumulate(lengths.begin(), lengths.end(), std::int64_t{1}, std::multiplies<>()));
}

std::string label_text(const DataShape& shape) {
  switch (shape.labels) {
    case DataShape::Labels::classes:
      return fmt::format("labels in {} classes", shape.classes);
    case DataShape::Labels::values:
      return fmt::format(
          "labels {} float32",
          shape.label_shape.empty() ? "1" : fmt::format("{}", fmt::join(shape.label_shape, " x ")));
    case DataShape::Labels::tokens:
      return fmt::format("the next of {} tokens at each", shape.classes);
  }
  return {};
}

}  // namespace

std::size_t DataShape::feature_bytes() const {
  return product(features) * size_of(feature_type);
}

std::size_t DataShape::label_bytes() const {
  return product(label_shape) * size_of(label_type());
}

std::string DataShape::text() const {
  return fmt::format("features {} {}, {}", fmt::join(features, " x "), name_of(feature_type),
                     label_text(*this));
}

}  // namespace muster
