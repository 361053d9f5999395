/// Column: one array of equal rows, in memory, in a mapped file, or read block by block. Raw bytes,
/// as the file has them. row()'s bytes stay valid until the next call, or for good where
/// in_memory(); so who looks at rows holds turn(): both sets of a split and those who read ahead
/// look at one column.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/comm/node_group.h"
#include "runtime/data/hdf5.h"
#include "runtime/data/order.h"

namespace muster {

struct ColumnInfo {
  std::string name;  ///< "train.h5, data set /features": for messages
  h5::Scalar scalar = h5::Scalar::float32;
  h5::Shape row_shape;
  std::uint64_t rows = 0;
  std::size_t row_bytes() const { return h5::elements_of(row_shape) * h5::size_of(scalar); }
  std::uint64_t bytes() const { return rows * row_bytes(); }
};

class Column {
 public:
  explicit Column(ColumnInfo info) : info_(std::move(info)) {}
  virtual ~Column() = default;
  const ColumnInfo& info() const { return info_; }
  virtual const std::byte* row(std::uint64_t index) const = 0;
  /// row(index) comes soon: what lies in memory is called into the caches.
  virtual void expect(std::uint64_t /*index*/) const {}
  virtual std::unique_lock<std::mutex> turn() const { return {}; }
  virtual bool in_memory() const { return true; }
  virtual Mixing mixing() const { return {}; }
  virtual std::string_view tier() const = 0;

 private:
  ColumnInfo info_;
};

/// Rows at `base`, `stride` bytes apart. `owner` keeps the memory; columns of one file share it.
class MemoryColumn final : public Column {
 public:
  MemoryColumn(ColumnInfo info, const std::byte* base, std::size_t stride,
               std::shared_ptr<const void> owner, std::string_view tier);
  const std::byte* row(std::uint64_t index) const override { return base_ + index * stride_; }
  void expect(std::uint64_t index) const override;
  std::string_view tier() const override { return tier_; }

 private:
  const std::byte* base_;
  std::size_t stride_;
  std::shared_ptr<const void> owner_;
  std::string_view tier_;
};

/// A data set that cannot be mapped (chunked, filtered, other byte order): whole blocks are read
/// and the latest kept.
class BlockedColumn final : public Column {
 public:
  BlockedColumn(ColumnInfo info, h5::File file, h5::Dataset dataset, Mixing mixing);
  const std::byte* row(std::uint64_t index) const override;
  std::unique_lock<std::mutex> turn() const override { return std::unique_lock(turn_); }
  bool in_memory() const override { return false; }
  Mixing mixing() const override { return mixing_; }
  std::string_view tier() const override { return "blocked"; }

 private:
  struct Block {
    std::uint64_t number = 0;
    std::vector<std::byte> bytes;
  };
  const Block& block(std::uint64_t number) const;
  h5::File file_;
  h5::Dataset dataset_;
  Mixing mixing_;
  std::size_t capacity_;
  mutable std::mutex turn_;
  mutable std::list<Block> blocks_;  // latest used first
  mutable std::unordered_map<std::uint64_t, std::list<Block>::iterator> by_number_;
};

/// A whole file, mapped read-only.
class MappedFile {
 public:
  /// Throws bad_input when there is no such file, naming `role` ("data.path").
  MappedFile(const std::string& path, std::string_view role);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {base_, size_}; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const std::byte* base_ = nullptr;
  std::size_t size_ = 0;
};

/// `bytes` of memory that all ranks of the node share, filled by local rank 0. What `fill` throws,
/// every rank throws. Collective.
std::shared_ptr<SharedMemory> filled_once(NodeGroup& node, std::size_t bytes,
                                          const std::function<void(std::span<std::byte>)>& fill);
/// The column copied into shared memory. Collective.
std::unique_ptr<Column> make_resident(const Column& column, NodeGroup& node);

}  // namespace muster
