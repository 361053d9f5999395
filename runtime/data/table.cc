// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/table.h"

#include <fmt/format.h>

#include <array>

#include "runtime/base/error.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Reader = Table (*)(const DataSettings&, const TableSource&, NodeGroup&);

struct Format {
  std::string_view name;
  Reader read;
};
constexpr std::array<Format, 8> formats{{{"hdf5", read_hdf5},
                                         {"idx", read_idx},
                                         {"cifar10", read_cifar},
                                         {"cifar100", read_cifar},
                                         {"csv", read_csv},
                                         {"npy", read_npy},
                                         {"tokens", read_tokens},
                                         {"synthetic", make_synthetic}}};

bool has_file(const Path& path, std::string_view name) {
  return std::filesystem::is_directory(path) && std::filesystem::exists(path / name);
}

std::string format_of_path(const std::string& text) {
  Path path(text);
  if (has_file(path, "data_batch_1.bin") || has_file(path, "test_batch.bin")) {
    return "cifar10";
  }
  if (has_file(path, "train.bin")) {
    return "cifar100";
  }
  if (has_file(path, "train-images-idx3-ubyte") || has_file(path, "train-images-idx3-ubyte.gz")) {
    return "idx";
  }
  if (path.extension() == ".gz") {
    path = path.stem();
  }
  const std::string ending = path.extension().string();
  if (ending == ".h5" || ending == ".hdf5") {
    return "hdf5";
  }
  if (ending == ".csv" || ending == ".tsv") {
    return "csv";
  }
  if (ending == ".npy") {
    return "npy";
  }
  const std::string file = path.filename().string();  // train-images-idx3-ubyte
  return ending == ".idx" || file.find("-idx") != std::string::npos ||
                 file.find(".idx") != std::string::npos
             ? "idx"
             : "";
}

}  // namespace

std::string format_of(const DataSettings& settings, const TableSource& source) {
  if (settings.format != "auto") {
    return settings.format;
  }
  if (source.path.empty()) {
    throw Error(Fault::bad_input,
                "data.path is missing: name a file, or set data.format = synthetic");
  }
  const std::string format = format_of_path(source.path);
  if (format.empty()) {
    throw Error(
        Fault::bad_input,
        fmt::format(
            "{}: the name {} does not show its format; set data.format to hdf5, idx, cifar10, "
            "cifar100, csv, npy or tokens",
            source.role, source.path));
  }
  return format;
}

Table open_table(const DataSettings& settings, const TableSource& source, NodeGroup& node) {
  const std::string name = format_of(settings, source);
  for (const Format& format : formats) {
    if (format.name == name) {
      return format.read(settings, source, node);
    }
  }
  throw Error(
      Fault::bad_input,
      fmt::format(
          "data.format = {} is unknown; use auto, hdf5, idx, cifar10, cifar100, csv, npy, tokens "
          "or synthetic",
          name));
}

std::unique_ptr<Column> column_in_file(const DataSettings& settings, const ColumnInfo& info,
                                       std::shared_ptr<MappedFile> file, std::uint64_t offset,
                                       NodeGroup& node) {
  const std::uint64_t there = file->bytes().size() > offset ? file->bytes().size() - offset : 0;
  if (there < info.bytes()) {
    throw Error(Fault::bad_input,
                fmt::format("{} is cut short: {} rows of {} bytes should follow byte {}, only {} "
                            "bytes are there; copy or "
                            "download the file again",
                            info.name, info.rows, info.row_bytes(), offset, there));
  }
  const std::byte* base = file->bytes().data() + offset;
  auto mapped =
      std::make_unique<MemoryColumn>(info, base, info.row_bytes(), std::move(file), "mapped");
  const bool is_resident =
      settings.tier == "resident" || (settings.tier == "auto" && info.bytes() <= small_set_bytes);
  return is_resident ? make_resident(*mapped, node) : std::move(mapped);
}

h5::Shape parse_shape(const std::string& text, std::string_view key) {
  h5::Shape shape;
  for (const std::string& word : words(text)) {
    const auto length = parse_int(word);
    if (!length || *length < 1) {
      throw Error(
          Fault::bad_input,
          fmt::format("{}: '{}' is no length; write whole numbers above 0, as in \"1 28 28\"", key,
                      word));
    }
    shape.push_back(static_cast<std::uint64_t>(*length));
  }
  return shape;
}

}  // namespace muster
