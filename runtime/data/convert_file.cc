// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/convert_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "runtime/base/crc32c.h"
#include "runtime/base/error.h"
#include "runtime/data/dataset.h"
#include "runtime/data/table.h"

namespace muster {
namespace {

constexpr std::size_t piece_bytes = std::size_t{8} << 20;  // written and read at once

/// Calls `take(first row, rows)` for pieces of about 8 MiB.
template <class Take>
void by_pieces(std::uint64_t rows, std::size_t row_bytes, Take take) {
  const std::uint64_t step =
      std::max<std::uint64_t>(1, piece_bytes / std::max<std::size_t>(row_bytes, 1));
  for (std::uint64_t first = 0; first < rows; first += step) {
    take(first, std::min(step, rows - first));
  }
}

void write_column(h5::File& file, const std::string& name, const Column& column,
                  const h5::Shape& row_shape) {
  const ColumnInfo& info = column.info();
  h5::Shape shape{info.rows};
  shape.insert(shape.end(), row_shape.begin(), row_shape.end());
  auto dataset = file.create_dataset(name, info.scalar, shape);
  std::vector<std::byte> piece;
  std::uint32_t sum = 0;
  by_pieces(info.rows, info.row_bytes(), [&](std::uint64_t first, std::uint64_t count) {
    piece.resize(count * info.row_bytes());
    for (std::uint64_t i = 0; i < count; ++i) {
      std::memcpy(piece.data() + i * info.row_bytes(), column.row(first + i), info.row_bytes());
    }
    sum = crc32c(sum, piece);
    dataset.write_rows(first, count, piece, info.scalar);
  });
  file.set_int(name, "crc32c", sum);
}

void verify_dataset(const h5::File& file, const std::string& name) {
  const auto expected = file.has(name) ? file.integer(name, "crc32c") : std::nullopt;
  if (!expected) {
    throw Error(Fault::bad_input,
                fmt::format("{}: data set {} has no crc32c; it was not written by muster convert",
                            file.name(), name));
  }
  const h5::Dataset dataset = file.dataset(name);
  const h5::DatasetInfo& info = dataset.info();
  const std::size_t row_bytes = info.bytes() / info.shape.at(0);
  std::vector<std::byte> piece;
  std::uint32_t sum = 0;
  by_pieces(info.shape[0], row_bytes, [&](std::uint64_t first, std::uint64_t count) {
    piece.resize(count * row_bytes);
    dataset.read_rows(first, count, piece, info.scalar);
    sum = crc32c(sum, piece);
  });
  if (sum != static_cast<std::uint32_t>(*expected)) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "{}: data set {} is damaged: its sum is {:08x}, it should be {:08x}; convert or copy "
            "it again",
            file.name(), name, sum, *expected));
  }
}

std::string description(const Column& column, const h5::Shape& row_shape) {
  return fmt::format("{} {}", row_shape.empty() ? "1" : h5::text_of(row_shape),
                     h5::name_of(column.info().scalar));
}

/// Also checks every value that has a say: rows, classes, NaN. Only then is anything written.
DataShape checked_shape(const DataSettings& settings, NodeGroup& node) {
  DataSettings as_it_is = settings;
  as_it_is.validation_fraction = 0;
  const DataSets sets = open_data(as_it_is, node);
  const DataShape& shape = sets.train->shape();
  std::vector<std::byte> features(shape.feature_bytes());
  std::vector<std::byte> labels(shape.label_bytes());
  for (std::uint64_t row = 0; row < sets.train->rows(); ++row) {
    sets.train->gather({&row, 1}, features, labels);
  }
  return shape;
}

}  // namespace

Converted convert_to_hdf5(const DataSettings& settings, const Path& out) {
  const auto node = solo_node_group();
  const DataShape shape = checked_shape(settings, *node);
  if (shape.labels == DataShape::Labels::tokens) {
    throw Error(Fault::bad_input, "token files are read as they are; there is nothing to convert");
  }
  const TableSource source{.path = settings.path,
                           .labels = settings.labels,
                           .features_name = settings.features_name,
                           .labels_name = settings.labels_name};
  const Table table = open_table(settings, source, *node);
  const h5::Shape features(shape.features.begin(), shape.features.end());
  const h5::Shape& labels = table.labels->info().row_shape;
  const Path temporary = out.string() + ".part";
  auto file = h5::File::create(temporary);
  write_column(file, "/features", *table.features, features);
  write_column(file, "/labels", *table.labels, labels);
  file.set_text("/", "format", "muster-data 1");
  file.set_int("/", "classes", shape.classes);
  if (table.scale > 0) {
    file.set_double("/features", "scale", table.scale);
  }
  file.close();
  verify_converted(temporary);
  auto& files = posix_file_system();
  files.open(temporary, OpenMode::read_write)->sync();
  files.rename(temporary, out);
  return {.rows = table.features->info().rows,
          .features = description(*table.features, features),
          .labels = description(*table.labels, labels),
          .classes = shape.classes,
          .bytes = files.open(out, OpenMode::read)->size()};
}

void verify_converted(const Path& path) {
  const h5::File file = h5::File::open(path);
  verify_dataset(file, "/features");
  verify_dataset(file, "/labels");
}

}  // namespace muster
