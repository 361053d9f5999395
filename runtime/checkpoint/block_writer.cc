// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/block_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "runtime/base/crc32c.h"
#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr std::uint64_t cell = 8 << 20;
constexpr std::uint64_t worth_a_thread = 16 << 20;

/// One file being written by several threads, each taking the next block.
class ImageWriter {
 public:
  ImageWriter(const Path& path, const std::vector<Run>& runs, std::span<const std::byte> image,
              bool direct, FileSystem& files, const std::stop_token& stop)
      : runs_(runs), image_(image), stop_(stop), blocks_(blocks_of(runs)) {
    buffered_ = files.open(path, OpenMode::read_write);
    direct_ = direct ? files.open_direct(path) : nullptr;
  }

  std::vector<Block> write(int threads) {
    {
      std::vector<std::jthread> helpers;
      for (int i = 1; i < threads; ++i) {
        helpers.emplace_back([this] { work(); });
      }
      work();
    }
    if (failure_) {
      std::rethrow_exception(failure_);
    }
    buffered_->sync();
    return std::move(blocks_);
  }

 private:
  void work() {
    try {
      for (std::size_t i = next_++; i < blocks_.size() && !failed_; i = next_++) {
        if (stop_.stop_requested()) {
          throw Error(Fault::cancelled, "a save was given up");
        }
        write_block(blocks_[i]);
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failed_.exchange(true)) {
        failure_ = std::current_exception();
      }
    }
  }

  std::span<const std::byte> bytes_of(const Block& block) const {
    const auto after = std::ranges::upper_bound(runs_, block.offset, {}, &Run::offset);
    const Run& run = *std::prev(after);
    return image_.subspan(run.image + (block.offset - run.offset), block.bytes);
  }

  void write_block(Block& block) {
    const auto bytes = bytes_of(block);
    block.crc = crc32c(0, bytes);
    const std::uint64_t end = block.offset + block.bytes;
    const std::uint64_t first_page = std::min(end, (block.offset + page - 1) / page * page);
    const std::uint64_t last_page = std::max(first_page, end / page * page);
    if (!direct_ || first_page == last_page) {
      buffered_->write_at(block.offset, bytes);
      return;
    }
    const auto head = first_page - block.offset;
    const auto body = last_page - first_page;
    if (head > 0) {
      buffered_->write_at(block.offset, bytes.first(head));
    }
    direct_->write_at(first_page, bytes.subspan(head, body));
    if (end > last_page) {
      buffered_->write_at(last_page, bytes.subspan(head + body));
    }
  }

  const std::vector<Run>& runs_;
  std::span<const std::byte> image_;
  const std::stop_token& stop_;
  std::vector<Block> blocks_;
  std::unique_ptr<File> buffered_;
  std::unique_ptr<File> direct_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::exception_ptr failure_;
};

}  // namespace

std::vector<Block> blocks_of(const std::vector<Run>& runs) {
  std::vector<Block> blocks;
  for (const Run& run : runs) {
    const std::uint64_t end = run.offset + run.bytes;
    for (std::uint64_t at = run.offset; at < end;) {
      const std::uint64_t next = std::min(end, (at / cell + 1) * cell);
      blocks.push_back({.offset = at, .bytes = next - at});
      at = next;
    }
  }
  return blocks;
}

std::vector<Block> write_image(const Path& path, const std::vector<Run>& runs,
                               std::span<const std::byte> image, const WriteOptions& options,
                               FileSystem& files, const std::stop_token& stop) {
  ImageWriter writer(path, runs, image, options.direct, files, stop);
  return writer.write(image.size() < worth_a_thread ? 1 : std::max(1, options.threads));
}

DiskProbe probe_disk(const Path& directory, std::uint64_t bytes, bool want_direct,
                     FileSystem& files, Clock& clock) {
  files.make_directory(directory);
  const Path path = directory / fmt::format(".tmp-probe-{}", ::getpid());
  const std::uint64_t size = std::clamp<std::uint64_t>(bytes / page * page, page, cell);
  const PinnedMemory memory(size);
  DiskProbe probe{.direct = want_direct};
  try {
    files.open(path, OpenMode::create_or_cut)->truncate(size);
    const auto start = clock.now();
    const std::vector<Run> whole{{.offset = 0, .bytes = size, .image = 0}};
    if (want_direct) {
      try {
        probe.direct = files.open_direct(path) != nullptr;
        write_image(path, whole, memory.bytes(), {.threads = 1, .direct = probe.direct}, files, {});
      } catch (const Error&) {  // some file systems open so and refuse the write
        probe.direct = false;
      }
    }
    if (!probe.direct) {
      write_image(path, whole, memory.bytes(), {.threads = 1, .direct = false}, files, {});
    }
    const std::chrono::duration<double> took = clock.now() - start;
    probe.bytes_per_second = static_cast<double>(size) / std::max(took.count(), 1e-6);
  } catch (...) {
    files.remove(path);
    throw;
  }
  files.remove(path);
  return probe;
}

}  // namespace muster
