/// h5::File and h5::Dataset: the part of HDF5 that Muster uses, with errors as exceptions and
/// objects named by path. One process-wide mutex lies around every libhdf5 call, so any build of
/// the library serves; hold no payload I/O inside it: ask a contiguous data set for its offset()
/// and read or write the file's bytes yourself.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/file_system.h"
#include "runtime/base/handle.h"
#include "runtime/comm/buffer.h"

namespace muster::h5 {

/// What one element is. In files always little-endian; float16 and bfloat16 are HDF5 floats of two
/// bytes, which h5py reads.
enum class Scalar : std::uint8_t {
  float16,
  bfloat16,
  float32,
  float64,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
};
std::size_t size_of(Scalar scalar);
std::string_view name_of(Scalar scalar);
Scalar scalar_of(DType dtype);
/// Nothing for the types that Buffer does not know (int8, int16, uint16, uint32, uint64).
std::optional<DType> dtype_of(Scalar scalar);

using Shape = std::vector<std::uint64_t>;
std::uint64_t elements_of(const Shape& shape);
std::string text_of(const Shape& shape);  ///< "200 x 28 x 28"; "scalar"

/// How a data set is laid out: contiguous with its space allocated at once and never filled, unless
/// `chunk` is given.
struct Layout {
  Shape chunk;           ///< empty: contiguous
  int deflate = 0;       ///< 1 to 9; needs a chunk
  bool shuffle = false;  ///< byte shuffle in front of deflate; needs a chunk
};

struct DatasetInfo {
  std::string path;
  Scalar scalar = Scalar::float32;
  Shape shape;
  Shape chunk;  ///< empty unless chunked
  bool is_filtered = false;
  bool is_native_order = true;  ///< false: big-endian in the file; read() converts
  std::optional<std::uint64_t>
      offset;  ///< where the bytes lie in the file: contiguous and allocated data sets only
  std::uint64_t bytes() const { return elements_of(shape) * size_of(scalar); }
};

struct IdTraits {
  using type = std::int64_t;  // hid_t
  static type none() noexcept { return -1; }
  static void close(type id) noexcept;
};
using Id = Handle<IdTraits>;

class Dataset {
 public:
  const DatasetInfo& info() const { return info_; }
  /// Whole, or rows [first, first + count) of the first dimension; converted between `memory` and
  /// the file's type.
  void read(std::span<std::byte> into, Scalar memory) const;
  void read_rows(std::uint64_t first, std::uint64_t count, std::span<std::byte> into,
                 Scalar memory) const;
  void write(std::span<const std::byte> from, Scalar memory);
  void write_rows(std::uint64_t first, std::uint64_t count, std::span<const std::byte> from,
                  Scalar memory);

 private:
  friend class File;
  Dataset(Id id, const std::string& path, const std::string& file);
  Id id_;
  std::string file_;
  DatasetInfo info_;
};

/// Paths are absolute ("/parameters/fc1.weight"); groups on the way are made. An attribute belongs
/// to a path, "/" for the file.
class File {
 public:
  /// Cuts what is there. Objects of `align_from` bytes and more begin at multiples of `alignment`.
  static File create(const Path& path, std::uint64_t alignment = 4096,
                     std::uint64_t align_from = 4096);
  /// Throws bad_input when the file is no HDF5 file or is cut short, io when it cannot be opened.
  static File open(const Path& path);
  static File open_for_update(const Path& path);

  const std::string& name() const { return name_; }
  bool has(const std::string& path) const;
  void make_group(const std::string& path);
  Dataset create_dataset(const std::string& path, Scalar scalar, const Shape& shape,
                         const Layout& layout = {});
  Dataset dataset(const std::string& path) const;
  std::vector<std::string> datasets() const;  ///< the paths of all data sets of the file, sorted

  void set_text(const std::string& path, const std::string& attribute, std::string_view value);
  void set_int(const std::string& path, const std::string& attribute, std::int64_t value);
  void set_double(const std::string& path, const std::string& attribute, double value);
  void set_ints(const std::string& path, const std::string& attribute,
                std::span<const std::int64_t> values);
  void set_doubles(const std::string& path, const std::string& attribute,
                   std::span<const double> values);
  /// Nothing when there is no such attribute; bad_input when it is of another kind.
  std::optional<std::string> text(const std::string& path, const std::string& attribute) const;
  std::optional<std::int64_t> integer(const std::string& path, const std::string& attribute) const;
  std::optional<double> real(const std::string& path, const std::string& attribute) const;
  std::optional<std::vector<std::int64_t>> ints(const std::string& path,
                                                const std::string& attribute) const;
  std::optional<std::vector<double>> doubles(const std::string& path,
                                             const std::string& attribute) const;
  std::vector<std::string> attributes(const std::string& path) const;

  /// Hands everything to the operating system (not to the medium: fsync the file for that).
  void flush();
  /// flush() and close with errors reported, which the destructor cannot.
  void close();

 private:
  File(Id id, std::string name) : name_(std::move(name)), id_(std::move(id)) {}
  std::string name_;
  Id id_;
};

}  // namespace muster::h5
