// SPDX-License-Identifier: Apache-2.0
// IDX, the format of the MNIST files: 0 0 TYPE DIMENSIONS, each length as a big-endian 32-bit
// number, then the values, big-endian.
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/base/handle.h"
#include "runtime/data/table.h"

namespace muster {
namespace {

struct GzipTraits {
  using type = gzFile;
  static type none() noexcept { return nullptr; }
  static void close(type file) noexcept { gzclose_r(file); }
};

/// Reads plain files as well as gzipped ones.
class GzipFile {
 public:
  explicit GzipFile(const std::string& path) : path_(path), file_(gzopen(path.c_str(), "rb")) {
    if (!file_) {
      throw Error(Fault::bad_input, fmt::format("{} cannot be opened; check the path", path));
    }
    gzbuffer(file_.get(), 1 << 17);
  }
  /// Fills `into`, or says where the file ends.
  void read(std::span<std::byte> into) {
    std::size_t at = 0;
    while (at < into.size()) {
      const auto step =
          static_cast<unsigned>(std::min<std::size_t>(into.size() - at, std::size_t{1} << 30));
      const int got = gzread(file_.get(), into.data() + at, step);
      if (got <= 0) {
        throw Error(
            Fault::bad_input,
            fmt::format("{} is cut short: it ends at byte {} of {}; download the file again", path_,
                        total_ + at, total_ + into.size()));
      }
      at += static_cast<std::size_t>(got);
    }
    total_ += at;
  }

 private:
  std::string path_;
  Handle<GzipTraits> file_;
  std::size_t total_ = 0;
};

std::uint32_t big_endian(const std::byte* bytes) {
  std::uint32_t value = 0;
  for (int i = 0; i < 4; ++i) {
    value = value << 8 | static_cast<std::uint32_t>(bytes[i]);
  }
  return value;
}

h5::Scalar scalar_of_code(std::byte code, const std::string& path) {
  switch (static_cast<int>(code)) {
    case 0x08:
      return h5::Scalar::uint8;
    case 0x09:
      return h5::Scalar::int8;
    case 0x0b:
      return h5::Scalar::int16;
    case 0x0c:
      return h5::Scalar::int32;
    case 0x0d:
      return h5::Scalar::float32;
    case 0x0e:
      return h5::Scalar::float64;
    default:
      throw Error(Fault::bad_input,
                  fmt::format("{}: type {:#04x} in byte 2 is none of IDX's; is this an IDX file?",
                              path, static_cast<int>(code)));
  }
}

ColumnInfo read_head(GzipFile& file, const std::string& path) {
  std::array<std::byte, 4> magic{};
  file.read(magic);
  const auto dimensions = static_cast<std::size_t>(magic[3]);
  if (magic[0] != std::byte{0} || magic[1] != std::byte{0} || dimensions == 0 || dimensions > 8) {
    throw Error(Fault::bad_input,
                fmt::format("{}: this is no IDX file (it should begin with two zero bytes)", path));
  }
  std::vector<std::byte> lengths(4 * dimensions);
  file.read(lengths);
  ColumnInfo info{.name = path,
                  .scalar = scalar_of_code(magic[2], path),
                  .row_shape = {},
                  .rows = big_endian(lengths.data())};
  for (std::size_t i = 1; i < dimensions; ++i) {
    info.row_shape.push_back(big_endian(lengths.data() + 4 * i));
  }
  return info;
}

void swap_bytes(std::span<std::byte> bytes, std::size_t width) {
  for (std::size_t i = 0; width > 1 && i + width <= bytes.size(); i += width) {
    std::ranges::reverse(bytes.subspan(i, width));
  }
}

bool is_gzipped(std::span<const std::byte> bytes) {
  return bytes.size() > 1 && bytes[0] == std::byte{0x1f} && bytes[1] == std::byte{0x8b};
}

std::unique_ptr<Column> read_column(const DataSettings& settings, const std::string& path,
                                    std::string_view role, NodeGroup& node) {
  auto mapped = std::make_shared<MappedFile>(path, role);
  GzipFile file(path);
  const ColumnInfo info = read_head(file, path);
  const std::size_t head = 4 + 4 * (info.row_shape.size() + 1);
  if (!is_gzipped(mapped->bytes()) && h5::size_of(info.scalar) == 1) {
    return column_in_file(settings, info, std::move(mapped), head, node);
  }
  auto memory = filled_once(node, info.bytes(), [&](std::span<std::byte> into) {
    file.read(into);
    swap_bytes(into, h5::size_of(info.scalar));
  });
  const std::byte* base = memory->bytes().data() + 4096;
  return std::make_unique<MemoryColumn>(info, base, info.row_bytes(), std::move(memory),
                                        "resident");
}

/// A folder holds MNIST under the names that it is published by.
std::string images_of(const TableSource& source) {
  if (!std::filesystem::is_directory(source.path)) {
    return source.path;
  }
  const std::string stem = source.is_validation ? "t10k" : "train";
  for (const char* ending : {"-images-idx3-ubyte", "-images-idx3-ubyte.gz", "-images.idx3-ubyte"}) {
    const Path path = Path(source.path) / (stem + ending);
    if (std::filesystem::exists(path)) {
      return path.string();
    }
  }
  throw Error(Fault::bad_input,
              fmt::format("{}: the folder {} has no {}-images-idx3-ubyte (nor .gz)", source.role,
                          source.path, stem));
}

/// train-images-idx3-ubyte has its labels in train-labels-idx1-ubyte.
std::string labels_beside(const std::string& images) {
  Path path(images);
  std::string name = path.filename().string();
  for (const auto& [from, to] : {std::pair{"images", "labels"}, std::pair{"idx3", "idx1"}}) {
    if (const auto at = name.find(from); at != std::string::npos) {
      name.replace(at, std::strlen(from), to);
    }
  }
  return (path.parent_path() / name).string();
}

}  // namespace

Table read_idx(const DataSettings& settings, const TableSource& source, NodeGroup& node) {
  const std::string images = images_of(source);
  const std::string labels = source.labels.empty() ? labels_beside(images) : source.labels;
  if (labels == images || !std::filesystem::exists(labels)) {
    throw Error(Fault::bad_input,
                fmt::format("{}: the labels of {} are missing (looked for {}); set data.labels",
                            source.role, images, labels));
  }
  Table table;
  table.features = read_column(settings, images, source.role, node);
  table.labels = read_column(settings, labels, "data.labels", node);
  return table;
}

}  // namespace muster
