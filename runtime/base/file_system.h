/// FileSystem: the files that must survive, behind an interface, so that tests record every
/// operation, cut the trace anywhere, and inject full disks, short writes and I/O errors. Durable
/// only after sync(); a name only after sync_directory() of its parent.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

using Path = std::filesystem::path;

enum class OpenMode {
  read,           ///< must exist
  read_write,     ///< must exist
  create,         ///< must not exist
  create_or_cut,  ///< made, or cut to nothing
  append,         ///< made if missing; write_at is refused, append() is not
};

/// One open file. Operations throw Error(io) naming the path. Not thread-safe but for read_at and
/// write_at.
class File {
 public:
  virtual ~File() = default;
  /// Reads until `into` is full or the file ends; how many bytes it was.
  virtual std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) = 0;
  virtual void write_at(std::uint64_t offset, std::span<const std::byte> bytes) = 0;
  virtual void append(std::span<const std::byte> bytes) = 0;
  virtual void sync() = 0;       ///< data and metadata on the medium (fsync)
  virtual void sync_data() = 0;  ///< fdatasync
  virtual void allocate(
      std::uint64_t bytes) = 0;  ///< reserves blocks, keeps the size; a full disk fails here
  virtual void truncate(std::uint64_t bytes) = 0;
  virtual std::uint64_t size() = 0;
  virtual bool is_direct()
      const noexcept = 0;  ///< opened past the page cache: offsets, sizes, addresses in 4 KiB
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual std::unique_ptr<File> open(const Path& path, OpenMode mode) = 0;
  /// Past the page cache (O_DIRECT). Nothing where the file system refuses it. The file must exist;
  /// `mode` is read or read_write.
  virtual std::unique_ptr<File> open_direct(const Path& path, OpenMode mode) = 0;
  std::unique_ptr<File> open_direct(const Path& path) {
    return open_direct(path, OpenMode::read_write);
  }
  virtual void make_directory(const Path& path) = 0;  ///< parents too; fine if it is there
  virtual void rename(const Path& from, const Path& to) = 0;
  virtual void remove(const Path& path) = 0;  ///< a file or a whole directory; fine if missing
  virtual void sync_directory(const Path& path) = 0;
  virtual std::vector<std::string> list(
      const Path& directory) = 0;  ///< names, sorted; empty if missing
  virtual bool exists(const Path& path) = 0;
  virtual std::uint64_t free_bytes(const Path& path) = 0;
};

/// The machine's own. Its only state is none, so one serves all.
FileSystem& posix_file_system();

/// The whole file as text. Throws Error(io), naming the path, when it cannot be read.
std::string read_file(const Path& path, FileSystem& files = posix_file_system());
std::optional<std::string> read_file_if_there(const Path& path,
                                              FileSystem& files = posix_file_system());
/// Whole or not at all, and there after a power cut: a temporary beside it, fsync, rename, fsync of
/// the directory.
void write_file_durably(const Path& path, std::string_view text,
                        FileSystem& files = posix_file_system());
/// Whole or not at all to readers, without the fsyncs: for what can be made again (status,
/// reports).
void write_file_atomically(const Path& path, std::string_view text,
                           FileSystem& files = posix_file_system());

/// The directory and every missing one above it, there after a power cut.
void make_directory_durably(const Path& path, FileSystem& files = posix_file_system());

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace muster
