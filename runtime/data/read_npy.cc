// SPDX-License-Identifier: Apache-2.0
// NPY: "\x93NUMPY", a version, the length of a header, and the header, a Python dict: descr,
// fortran_order, shape.
#include <fmt/format.h>

#include <charconv>
#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/base/text.h"
#include "runtime/data/table.h"

namespace muster {
namespace {

struct NpyHead {
  ColumnInfo info;
  std::size_t payload = 0;  // where it begins
};

[[noreturn]] void fail(const std::string& path, const std::string& why) {
  throw Error(Fault::bad_input, fmt::format("{}: {}", path, why));
}

/// What stands behind 'key': in the dict.
std::string_view value_of(std::string_view dict, std::string_view key, const std::string& path) {
  const std::size_t at = dict.find(fmt::format("'{}'", key));
  if (at == std::string_view::npos) {
    fail(path, fmt::format("the header has no '{}'; is this an NPY file?", key));
  }
  return trim(dict.substr(dict.find(':', at) + 1));
}

h5::Scalar scalar_of(std::string_view type, const std::string& path) {
  for (int i = 0; i <= static_cast<int>(h5::Scalar::uint64); ++i) {
    const auto scalar = static_cast<h5::Scalar>(i);
    const std::string_view name = h5::name_of(scalar);
    const char kind =
        name[0] == 'b' ? '?' : name[0];  // f, i, u: as NumPy's letters; it has no bfloat16
    if (type.size() == 3 && type[1] == kind &&
        type[2] - '0' == static_cast<int>(h5::size_of(scalar)) &&
        (type[0] == '<' || (type[0] == '|' && type[2] == '1'))) {
      return scalar;
    }
  }
  if (type == "|b1") {
    return h5::Scalar::uint8;
  }
  fail(path, fmt::format("holds '{}', which is read here as little-endian numbers of 1, 2, 4 or 8 "
                         "bytes only; convert it with "
                         "array.astype('<f4')",
                         type));
}

h5::Shape shape_of(std::string_view tuple, const std::string& path) {
  h5::Shape shape;
  tuple = tuple.substr(1, tuple.find(')') - 1);
  for (const std::string& part : split(tuple, ',')) {
    if (trim(part).empty()) {
      continue;
    }
    const auto length = parse_int(trim(part));
    if (!length || *length < 0) {
      fail(path, fmt::format("the header's shape has '{}'", part));
    }
    shape.push_back(static_cast<std::uint64_t>(*length));
  }
  return shape;
}

NpyHead read_head(std::string_view bytes, const std::string& path) {
  if (!bytes.starts_with("\x93NUMPY") || bytes.size() < 12) {
    fail(path,
         "this is no NPY file (it should begin with \\x93NUMPY); an .npz must be unpacked first");
  }
  auto byte = [&](std::size_t at) {
    return static_cast<std::size_t>(static_cast<unsigned char>(bytes[at]));
  };
  const bool is_long = bytes[6] > 1;
  const std::size_t begin = is_long ? 12 : 10;
  const std::size_t length =
      byte(8) | byte(9) << 8 | (is_long ? byte(10) << 16 | byte(11) << 24 : 0);
  if (begin + length > bytes.size()) {
    fail(path, "is cut short inside its header; copy it again");
  }
  const std::string_view dict = bytes.substr(begin, length);
  if (value_of(dict, "fortran_order", path).starts_with("True")) {
    fail(path, "is stored column by column; save numpy.ascontiguousarray(array)");
  }
  const std::string_view type = value_of(dict, "descr", path);
  const h5::Shape shape = shape_of(value_of(dict, "shape", path), path);
  if (shape.empty() || shape[0] == 0) {
    fail(path, "holds no rows");
  }
  return {.info = {.name = path,
                   .scalar = scalar_of(type.substr(1, type.find('\'', 1) - 1), path),
                   .row_shape = {shape.begin() + 1, shape.end()},
                   .rows = shape[0]},
          .payload = begin + length};
}

std::unique_ptr<Column> read_column(const DataSettings& settings, const std::string& path,
                                    std::string_view role, NodeGroup& node) {
  auto file = std::make_shared<MappedFile>(path, role);
  const auto bytes = file->bytes();
  const NpyHead head = read_head({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
  return column_in_file(settings, head.info, std::move(file), head.payload, node);
}

}  // namespace

Table read_npy(const DataSettings& settings, const TableSource& source, NodeGroup& node) {
  if (source.labels.empty()) {
    throw Error(
        Fault::bad_input,
        fmt::format("{}: {} holds features only; name the file of labels in {}", source.role,
                    source.path, source.is_validation ? "data.validation_labels" : "data.labels"));
  }
  Table table;
  table.features = read_column(settings, source.path, source.role, node);
  table.labels = read_column(settings, source.labels, "data.labels", node);
  return table;
}

}  // namespace muster
