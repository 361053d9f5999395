// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "runtime/data/hdf5_library.h"

namespace muster::h5 {
namespace {

void read_layout(hid_t dataset, DatasetInfo& info) {
  const Id plist = own(H5Dget_create_plist(dataset), Fault::io, "asking for a layout");
  info.is_filtered = H5Pget_nfilters(plist.get()) > 0;
  const H5D_layout_t layout = H5Pget_layout(plist.get());
  if (layout == H5D_CHUNKED) {
    std::vector<hsize_t> dims(info.shape.size());
    H5Pget_chunk(plist.get(), static_cast<int>(dims.size()), dims.data());
    info.chunk.assign(dims.begin(), dims.end());
  }
  // An external or virtual data set has no place of its own in this file; nor has one that was
  // never written.
  const haddr_t address = layout == H5D_CONTIGUOUS ? H5Dget_offset(dataset) : HADDR_UNDEF;
  if (address != HADDR_UNDEF && H5Pget_external_count(plist.get()) == 0) {
    info.offset = address;
  }
  H5Eclear2(H5E_DEFAULT);
}

DatasetInfo describe(hid_t dataset, const std::string& path, const std::string& file) {
  DatasetInfo info;
  info.path = path;
  const Id type = own(H5Dget_type(dataset), Fault::bad_input, "asking for a type");
  const auto scalar = scalar_of_type(type.get());
  if (!scalar) {
    throw Error(Fault::bad_input,
                fmt::format("{}: data set {} holds no plain numbers (text or a compound type); "
                            "store numbers of 1, 2, 4 or 8 bytes",
                            file, path));
  }
  info.scalar = *scalar;
  info.is_native_order = H5Tget_size(type.get()) == 1 || H5Tget_order(type.get()) == H5T_ORDER_LE;
  const Id space = own(H5Dget_space(dataset), Fault::bad_input, "asking for a shape");
  info.shape = shape_of(space.get());
  read_layout(dataset, info);
  return info;
}

/// The rows of a data set as a selection of its file space, and the matching space in memory.
struct Rows {
  Id file;
  Id memory;
};

Rows select_rows(const DatasetInfo& info, std::uint64_t first, std::uint64_t count) {
  require(!info.shape.empty() && first + count <= info.shape[0], "rows outside the data set");
  std::vector<hsize_t> start(info.shape.size(), 0);
  std::vector<hsize_t> block(info.shape.begin(), info.shape.end());
  start[0] = first;
  block[0] = count;
  Rows rows{.file = space_of(info.shape), .memory = space_of({block.begin(), block.end()})};
  check(H5Sselect_hyperslab(rows.file.get(), H5S_SELECT_SET, start.data(), nullptr, block.data(),
                            nullptr),
        Fault::bug, "selecting rows");
  return rows;
}

std::uint64_t row_elements(const DatasetInfo& info) {
  return info.shape.empty() || info.shape[0] == 0 ? 0 : elements_of(info.shape) / info.shape[0];
}

}  // namespace

Dataset::Dataset(Id id, const std::string& path, const std::string& file)
    : id_(std::move(id)), file_(file), info_(describe(id_.get(), path, file)) {}

void Dataset::read(std::span<std::byte> into, Scalar memory) const {
  require(into.size() == elements_of(info_.shape) * size_of(memory),
          "h5: the memory does not fit the data set");
  const Session session;
  const Id type = type_of(memory);
  check(
      H5Dread(id_.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, into.data()), Fault::io,
      fmt::format("{}: {} cannot be read, the file or its disk is damaged; copy or write it again",
                  file_, info_.path));
}

void Dataset::read_rows(std::uint64_t first, std::uint64_t count, std::span<std::byte> into,
                        Scalar memory) const {
  require(into.size() == count * row_elements(info_) * size_of(memory),
          "h5: the memory does not fit the rows");
  const Session session;
  const Id type = type_of(memory);
  const Rows rows = select_rows(info_, first, count);
  check(
      H5Dread(id_.get(), type.get(), rows.memory.get(), rows.file.get(), H5P_DEFAULT, into.data()),
      Fault::io,
      fmt::format(
          "{}: rows {} to {} of {} cannot be read, the file or its disk is damaged; copy or "
          "write it again",
          file_, first, first + count, info_.path));
}

void Dataset::write(std::span<const std::byte> from, Scalar memory) {
  require(from.size() == elements_of(info_.shape) * size_of(memory),
          "h5: the memory does not fit the data set");
  const Session session;
  const Id type = type_of(memory);
  check(H5Dwrite(id_.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, from.data()), Fault::io,
        fmt::format("{}: writing {}", file_, info_.path));
}

void Dataset::write_rows(std::uint64_t first, std::uint64_t count, std::span<const std::byte> from,
                         Scalar memory) {
  require(from.size() == count * row_elements(info_) * size_of(memory),
          "h5: the memory does not fit the rows");
  const Session session;
  const Id type = type_of(memory);
  const Rows rows = select_rows(info_, first, count);
  check(
      H5Dwrite(id_.get(), type.get(), rows.memory.get(), rows.file.get(), H5P_DEFAULT, from.data()),
      Fault::io,
      fmt::format("{}: writing {}, rows {} to {}", file_, info_.path, first, first + count));
}

}  // namespace muster::h5
