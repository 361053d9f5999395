/// Layout: where every tensor and record of a state tree lies in the HDF5 file, and the bytes that
/// HDF5 itself needs around them. libhdf5 makes it once for a given set of names and shapes, in
/// memory; a save then writes plain bytes and calls no library.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/checkpoint/state_tree.h"

namespace muster {

inline constexpr std::uint64_t page =
    4096;  ///< direct reads and writes begin and end at whole pages

struct TensorPlace {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::uint64_t> shape;
  std::vector<std::uint8_t> axes;  ///< as in TensorSlice
  std::uint64_t offset = 0;        ///< of the first element in the file
  std::uint64_t bytes() const { return elements_in(shape) * size_of(dtype); }
  std::vector<std::uint64_t> model_shape() const;  ///< in the order of the model's dimensions
  bool operator==(const TensorPlace&) const = default;
};

struct RecordPlace {
  enum class Kind : std::uint8_t { int64, uint64, float64, boolean, text };
  std::string name;
  Kind kind = Kind::int64;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  ///< of a text: its room, zero-padded
  bool operator==(const RecordPlace&) const = default;
};
std::string_view name_of(RecordPlace::Kind kind);

/// Bytes of HDF5's own: superblock, groups, object headers, and the gaps between.
struct Fragment {
  std::uint64_t offset = 0;
  std::string bytes;
};

struct Layout {
  std::vector<TensorPlace> tensors;  ///< in file order
  std::vector<RecordPlace> records;
  std::vector<Fragment> skeleton;  ///< everything that is neither tensor nor record
  std::uint64_t file_bytes = 0;
};

/// Deterministic in names, types, shapes and the room of texts; `library` strings aside. Throws
/// Error(bug) if libhdf5 lays out otherwise than contiguously.
Layout make_layout(const StateTree& tree);
/// How rank 0 hands its layout to the others.
std::string to_bytes(const Layout& layout);
Layout layout_from_bytes(std::string_view bytes);

}  // namespace muster
