// SPDX-License-Identifier: Apache-2.0
// CIFAR's binary files: rows of 1 (CIFAR-10) or 2 (CIFAR-100: coarse, fine) label bytes and 3072
// pixels, channels first.
#include <fmt/format.h>

#include <cstring>
#include <filesystem>

#include "runtime/base/error.h"
#include "runtime/data/table.h"

namespace muster {
namespace {

constexpr std::size_t pixels = 3 * 32 * 32;

std::vector<std::string> files_of(const TableSource& source, bool has_hundred) {
  if (!std::filesystem::is_directory(source.path)) {
    return {source.path};
  }
  std::vector<std::string> names;
  if (source.is_validation) {
    names = {has_hundred ? "test.bin" : "test_batch.bin"};
  } else if (has_hundred) {
    names = {"train.bin"};
  } else {
    names = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
             "data_batch_5.bin"};
  }
  for (std::string& name : names) {
    name = (Path(source.path) / name).string();
  }
  return names;
}

}  // namespace

Table read_cifar(const DataSettings& settings, const TableSource& source, NodeGroup& node) {
  const bool has_hundred = format_of(settings, source) == "cifar100";
  const std::size_t label_bytes = has_hundred ? 2 : 1;
  const std::size_t stride = label_bytes + pixels;
  std::vector<std::unique_ptr<MappedFile>> files;
  std::size_t bytes = 0;
  for (const std::string& path : files_of(source, has_hundred)) {
    files.push_back(std::make_unique<MappedFile>(path, source.role));
    const std::size_t size = files.back()->bytes().size();
    if (size % stride != 0) {
      throw Error(
          Fault::bad_input,
          fmt::format(
              "{} is cut short or no CIFAR file: {} bytes are not whole rows of {}; download "
              "it again",
              path, size, stride));
    }
    bytes += size;
  }
  std::shared_ptr<SharedMemory> memory = filled_once(node, bytes, [&](std::span<std::byte> into) {
    for (std::size_t at = 0; const auto& file : files) {
      std::memcpy(into.data() + at, file->bytes().data(), file->bytes().size());
      at += file->bytes().size();
    }
  });
  const std::byte* base = memory->bytes().data() + 4096;
  ColumnInfo info{.name = source.path,
                  .scalar = h5::Scalar::uint8,
                  .row_shape = {3, 32, 32},
                  .rows = bytes / stride};
  Table table;
  table.features =
      std::make_unique<MemoryColumn>(info, base + label_bytes, stride, memory, "resident");
  info.row_shape.clear();
  table.labels =
      std::make_unique<MemoryColumn>(info, base + label_bytes - 1, stride, memory, "resident");
  table.classes = has_hundred ? 100 : 10;
  return table;
}

}  // namespace muster
