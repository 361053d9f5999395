/// SampleOrder: which row comes at which position of an epoch. A keyed bijection of [0, rows):
/// every row exactly once, any position in O(1), nothing to save, and no trace of how many ranks
/// there are. Values: copy them; thread-safe.
///
/// Feistel network over the smallest 2^b >= rows with Philox as round function, walked along its
/// cycle until it lands below rows.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace muster {

/// A keyed bijection of [0, size).
class KeyedPermutation {
 public:
  KeyedPermutation(std::uint64_t size, std::uint64_t key);
  std::uint64_t operator()(std::uint64_t position) const;  ///< position < size
  std::uint64_t size() const { return size_; }

 private:
  std::uint64_t encrypt(std::uint64_t value) const;
  std::uint64_t size_;
  std::uint64_t key_;
  int left_bits_ = 0;
  int right_bits_ = 0;
};

/// How freely rows may be mixed. Random access: block_rows 0. Files that are dear to read at random
/// are read in blocks: blocks in keyed order, rows mixed inside windows of that many blocks.
struct Mixing {
  bool shuffle = true;  ///< false: file order, for validation
  std::uint64_t block_rows = 0;
  std::uint64_t window_blocks = 0;
  bool operator==(const Mixing&) const = default;
};

class SampleOrder {
 public:
  SampleOrder(std::uint64_t rows, std::uint64_t seed, std::uint64_t epoch, Mixing mixing = {});
  std::uint64_t operator()(std::uint64_t position) const;  ///< position < rows
  std::uint64_t rows() const { return rows_; }
  std::uint64_t key() const { return key_; }  ///< of this epoch's permutation

 private:
  std::uint64_t mixed_in_window(std::uint64_t position) const;
  std::uint64_t row_on_line(std::uint64_t position) const;
  std::uint64_t rows_;
  std::uint64_t key_;
  Mixing mixing_;
  KeyedPermutation all_;  // of the rows, or of the full blocks
};

/// Consecutive positions of an epoch.
struct SampleRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
  std::uint64_t end() const { return first + count; }
  bool operator==(const SampleRange&) const = default;
};

/// Part `part` of `parts`: consecutive, sizes differ by at most one, the larger ones first. May be
/// empty (fewer samples than ranks).
SampleRange part_of(SampleRange whole, std::uint64_t part, std::uint64_t parts);

/// The global batches of an epoch. The last one is short when the batch does not divide the rows,
/// unless it is dropped.
struct BatchPlan {
  std::uint64_t rows = 0;
  std::uint64_t batch = 1;  ///< global
  bool drop_last = false;
  std::uint64_t steps() const;  ///< of an epoch
  SampleRange of_step(std::uint64_t step) const;
};

/// Strict mode: a global batch is always cut into `shards` logical shards; rank r of n owns the
/// consecutive shards [first, first + count) and keeps a gradient for each. Any n up to `shards`.
SampleRange shards_of(std::uint64_t rank, std::uint64_t ranks, std::uint64_t shards);

}  // namespace muster
