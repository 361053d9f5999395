// SPDX-License-Identifier: Apache-2.0
#include "runtime/data/column.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/base/handle.h"

namespace muster {

MemoryColumn::MemoryColumn(ColumnInfo info, const std::byte* base, std::size_t stride,
                           std::shared_ptr<const void> owner, std::string_view tier)
    : Column(std::move(info)),
      base_(base),
      stride_(stride),
      owner_(std::move(owner)),
      tier_(tier) {}

void MemoryColumn::expect(std::uint64_t index) const {
  constexpr std::size_t line = 64;
  constexpr std::size_t most = 64 * line;  // of a longer row the processor finds the rest itself
  const std::byte* at = row(index);
  for (std::size_t i = 0; i < std::min(info().row_bytes(), most); i += line) {
    __builtin_prefetch(at + i);
  }
}

// Rows of a window may straddle blocks of the file where a split took rows out, so twice the window
// is kept.
BlockedColumn::BlockedColumn(ColumnInfo info, h5::File file, h5::Dataset dataset, Mixing mixing)
    : Column(std::move(info)),
      file_(std::move(file)),
      dataset_(std::move(dataset)),
      mixing_(mixing),
      capacity_(2 * mixing.window_blocks + 2) {}

const std::byte* BlockedColumn::row(std::uint64_t index) const {
  const Block& found = block(index / mixing_.block_rows);
  return found.bytes.data() + index % mixing_.block_rows * info().row_bytes();
}

const BlockedColumn::Block& BlockedColumn::block(std::uint64_t number) const {
  if (const auto known = by_number_.find(number); known != by_number_.end()) {
    blocks_.splice(blocks_.begin(), blocks_, known->second);
    return blocks_.front();
  }
  if (blocks_.size() >= capacity_) {  // the oldest block's memory serves again
    by_number_.erase(blocks_.back().number);
    blocks_.splice(blocks_.begin(), blocks_, std::prev(blocks_.end()));
  } else {
    blocks_.emplace_front();
  }
  const std::uint64_t first = number * mixing_.block_rows;
  const std::uint64_t count = std::min(mixing_.block_rows, info().rows - first);
  Block& fresh = blocks_.front();
  fresh.number = number;
  fresh.bytes.resize(count * info().row_bytes());
  dataset_.read_rows(first, count, fresh.bytes, info().scalar);
  by_number_[number] = blocks_.begin();
  return fresh;
}

MappedFile::MappedFile(const std::string& path, std::string_view role) : path_(path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    throw Error(Fault::bad_input,
                fmt::format("{}: {} cannot be read as a file ({}); check the path", role, path,
                            file ? "it is none" : std::strerror(errno)));
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) {
    throw Error(Fault::bad_input, fmt::format("{}: {} is empty", role, path));
  }
  void* base = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
  if (base == MAP_FAILED) {
    throw_errno("map " + path, errno);
  }
  base_ = static_cast<const std::byte*>(base);
}

MappedFile::~MappedFile() {
  ::munmap(const_cast<std::byte*>(base_), size_);
}

std::shared_ptr<SharedMemory> filled_once(NodeGroup& node, std::size_t bytes,
                                          const std::function<void(std::span<std::byte>)>& fill) {
  constexpr std::size_t message_length =
      2000;  // what went wrong on local rank 0 lies in front of the payload
  constexpr std::size_t head = 4096;
  std::shared_ptr<SharedMemory> memory = node.share(head + bytes);
  const auto message = memory->bytes().first(message_length);
  std::exception_ptr failure;
  if (node.rank() == 0) {
    try {
      fill(memory->bytes().subspan(head));
    } catch (const std::exception& error) {
      failure = std::current_exception();
      const std::string text = report(error);
      std::memcpy(message.data(), text.data(), std::min(text.size(), message_length - 1));
    }
  }
  node.barrier();
  if (failure) {
    std::rethrow_exception(failure);
  }
  if (message[0] != std::byte{0}) {
    throw Error(Fault::bad_input, reinterpret_cast<const char*>(message.data()));
  }
  return memory;
}

std::unique_ptr<Column> make_resident(const Column& column, NodeGroup& node) {
  const ColumnInfo& info = column.info();
  const std::size_t row_bytes = info.row_bytes();
  auto memory = filled_once(node, info.bytes(), [&](std::span<std::byte> into) {
    for (std::uint64_t i = 0; i < info.rows; ++i) {
      std::memcpy(into.data() + i * row_bytes, column.row(i), row_bytes);
    }
  });
  const std::byte* base = memory->bytes().data() + 4096;
  return std::make_unique<MemoryColumn>(info, base, row_bytes, std::move(memory), "resident");
}

}  // namespace muster
