// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/data/table.h"

namespace muster {
namespace {

h5::Dataset find(const h5::File& file, const std::string& name, std::string_view key) {
  const std::string path = name.starts_with('/') ? name : "/" + name;
  if (!file.has(path)) {
    throw Error(Fault::bad_input,
                fmt::format("{}: there is no data set {} ({}); the file has {}", file.name(), path,
                            key, fmt::join(file.datasets(), ", ")));
  }
  return file.dataset(path);
}

ColumnInfo info_of(const h5::File& file, const h5::DatasetInfo& dataset) {
  if (dataset.shape.empty() || dataset.shape[0] == 0) {
    throw Error(Fault::bad_input,
                fmt::format("{}: data set {} holds no rows", file.name(), dataset.path));
  }
  return {.name = fmt::format("{}, data set {}", file.name(), dataset.path),
          .scalar = dataset.scalar,
          .row_shape = {dataset.shape.begin() + 1, dataset.shape.end()},
          .rows = dataset.shape[0]};
}

Mixing mixing_of(const DataSettings& settings, const h5::DatasetInfo& dataset) {
  std::uint64_t rows =
      settings.block_rows > 0 ? static_cast<std::uint64_t>(settings.block_rows) : 1024;
  if (settings.block_rows == 0 && !dataset.chunk.empty()) {
    rows = dataset.chunk[0];  // a chunk is the least that can be read
  }
  return {.block_rows = rows, .window_blocks = static_cast<std::uint64_t>(settings.window_blocks)};
}

/// `mixing`: of the features, so that labels are read in the same blocks.
std::unique_ptr<Column> column_of(const DataSettings& settings, const TableSource& source,
                                  std::string_view key, const std::string& name, NodeGroup& node) {
  h5::File file = h5::File::open(source.path);
  h5::Dataset dataset = find(file, name, key);
  const ColumnInfo info = info_of(file, dataset.info());
  const bool is_mappable =
      dataset.info().offset && dataset.info().is_native_order && settings.tier != "blocked";
  if (is_mappable) {
    return column_in_file(settings, info, std::make_shared<MappedFile>(source.path, source.role),
                          *dataset.info().offset, node);
  }
  if (settings.tier == "mapped") {
    throw Error(
        Fault::bad_input,
        fmt::format("{} cannot be mapped: it is chunked, filtered or of another byte order; set "
                    "data.tier = auto, or rewrite it with muster convert",
                    info.name));
  }
  const Mixing mixing = mixing_of(settings, dataset.info());
  auto blocked = std::make_unique<BlockedColumn>(info, std::move(file), std::move(dataset), mixing);
  const bool is_resident = settings.tier == "resident" ||
                           (settings.tier == "auto" && info.bytes() <= settings.resident_bytes);
  return is_resident ? make_resident(*blocked, node) : std::move(blocked);
}

}  // namespace

Table read_hdf5(const DataSettings& settings, const TableSource& source, NodeGroup& node) {
  if (!std::filesystem::exists(source.path)) {
    throw Error(Fault::bad_input, fmt::format("{}: there is no file {}", source.role, source.path));
  }
  Table table;
  table.features = column_of(settings, source, "data.features_name", source.features_name, node);
  table.labels = column_of(settings, source, "data.labels_name", source.labels_name, node);
  const h5::File file = h5::File::open(source.path);
  table.classes = file.integer("/", "classes").value_or(0);
  const std::string& name = source.features_name;
  table.scale = file.real(name.starts_with('/') ? name : "/" + name, "scale").value_or(0);
  return table;
}

}  // namespace muster
