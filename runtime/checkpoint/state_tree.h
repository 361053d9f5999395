/// StateTree: what a checkpoint holds, as one rank sees it: named tensors, of which this rank holds
/// a range, and small named records. It points at the live state and owns nothing: build it once,
/// snapshot it often. Every rank adds the same names, types and shapes, in the same order; only
/// ranges and values differ.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "runtime/comm/buffer.h"

namespace muster {

/// When the value of a tensor stands still, which says how long a copy may be put off.
enum class Stability : std::uint8_t {
  step,     ///< from the end of one optimiser step to the start of the next: parameters, optimiser
            ///< state, EMA
  forward,  ///< until the next forward pass begins: buffers that forward changes (batch norm's
            ///< running statistics)
  host,     ///< only at the boundary itself: counters, cursors, sums
};

/// A range of one named tensor in this rank's memory.
struct TensorSlice {
  std::string
      name;  ///< "model/fc1.weight"; '/' makes groups in the file; no blanks, not below "records/"
  DType dtype = DType::float32;
  std::vector<std::uint64_t>
      shape;  ///< of the whole tensor; the file holds its elements in row-major order
  /// Where memory runs in another order than the model's dimensions (channels-last): which of them
  /// each of `shape` is, {0, 2, 3, 1}. Empty: the same order.
  std::vector<std::uint8_t> axes = {};
  std::uint64_t first = 0;  ///< `bytes` are the elements [first, first + n) of the flattened tensor
  std::span<std::byte> bytes;  ///< may be empty: another rank holds it
  /// Every rank holds the whole tensor with equal bits: the ranks share the writing and each reads
  /// all of it.
  bool replicated = false;
  Stability stability = Stability::step;
  Device device{};
};

/// A number or a text of the trainer, read when a snapshot is taken and written by restore. Equal
/// on all ranks: rank 0's is saved.
using RecordRef = std::variant<std::int64_t*, std::uint64_t*, double*, bool*, std::string*>;
struct Record {
  std::string name;  ///< "step": lies at "records/step" in the file
  RecordRef value;
};

class StateTree {
 public:
  /// Several slices of one tensor may be added; they agree on type and shape. Throws Error(bug) on
  /// a name or range that cannot be.
  void add(TensorSlice slice);
  /// The whole of a tensor that only this rank holds, or that every rank holds (`replicated`).
  template <class T>
  void add_whole(std::string name, std::span<T> values, std::vector<std::uint64_t> shape = {},
                 bool replicated = false, Stability stability = Stability::step) {
    add(TensorSlice{
        .name = std::move(name),
        .dtype = dtype_of<T>,
        .shape = shape.empty() ? std::vector<std::uint64_t>{values.size()} : std::move(shape),
        .bytes = std::as_writable_bytes(values),
        .replicated = replicated,
        .stability = stability});
  }
  /// Binds a field. A text holds no NUL; it may grow from save to save (which lays the file out
  /// anew when it outgrows its room).
  void record(std::string name, RecordRef field);

  const std::vector<TensorSlice>& slices() const { return slices_; }
  const std::vector<Record>& records() const { return records_; }
  std::uint64_t local_bytes() const;  ///< of this rank's slices

 private:
  std::vector<TensorSlice> slices_;
  std::vector<Record> records_;
};

std::uint64_t elements_in(std::span<const std::uint64_t> shape);

}  // namespace muster
