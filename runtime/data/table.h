/// Table: features and labels as a file has them, before anything is converted. One reader a
/// format. Readers check what the file says against its size, and throw bad_input with file, place
/// and remedy. Every rank opens; what must be read into memory is read once per node (so a reader
/// is collective).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "runtime/config/data_settings.h"
#include "runtime/data/column.h"

namespace muster {

struct Table {
  std::unique_ptr<Column> features;
  std::unique_ptr<Column> labels;  ///< null for tokens
  std::int64_t classes = 0;        ///< known from the format; else 0
  double scale = 0;                ///< what the file says brings its features to 0..1; else 0
};

/// Which file of a set: its path, and what the keys call it.
struct TableSource {
  std::string path;
  std::string labels;         ///< a second file, where the format has one
  std::string features_name;  ///< data sets of an HDF5 file
  std::string labels_name;
  std::string role = "data.path";  ///< for messages
  bool is_validation = false;
};

/// The format that `data.format` names, or that the path shows.
std::string format_of(const DataSettings& settings, const TableSource& source);
Table open_table(const DataSettings& settings, const TableSource& source, NodeGroup& node);

Table read_hdf5(const DataSettings& settings, const TableSource& source, NodeGroup& node);
Table read_idx(const DataSettings& settings, const TableSource& source, NodeGroup& node);
Table read_cifar(const DataSettings& settings, const TableSource& source, NodeGroup& node);
Table read_csv(const DataSettings& settings, const TableSource& source, NodeGroup& node);
Table read_npy(const DataSettings& settings, const TableSource& source, NodeGroup& node);
Table read_tokens(const DataSettings& settings, const TableSource& source, NodeGroup& node);
Table make_synthetic(const DataSettings& settings, const TableSource& source, NodeGroup& node);

/// A column whose bytes lie in a mapped file: resident when small or asked for, else mapped. Checks
/// that the file holds them all.
std::unique_ptr<Column> column_in_file(const DataSettings& settings, const ColumnInfo& info,
                                       std::shared_ptr<MappedFile> file, std::uint64_t offset,
                                       NodeGroup& node);

/// Contiguous sets up to this size are copied into memory; larger ones are as fast mapped.
inline constexpr std::uint64_t small_set_bytes = std::uint64_t{64} << 20;

/// "1 28 28" as a shape. Throws bad_input naming `key`.
h5::Shape parse_shape(const std::string& text, std::string_view key);

}  // namespace muster
