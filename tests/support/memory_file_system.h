/// MemoryFileSystem: files in memory that remember every operation done to them, so that a test can
/// ask what a disk might hold after a power cut at any point. What was not synced may be lost, each
/// operation for itself, and a write may be torn at 4 KiB.
///
/// The model is POSIX at its weakest: bytes and sizes of a file need sync() of it; names need
/// sync_directory() of their directory; a rename is one operation; an inode lives as long as a name
/// or a lost removal leads to it. Thread-safe.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "runtime/base/file_system.h"

namespace muster::test {

/// One thing done to the disk.
struct DiskOperation {
  enum class Kind { link, unlink, rename, write, truncate, sync, sync_directory };
  Kind kind = Kind::link;
  int inode = 0;              ///< the file written or synced; the directory whose names change
  int target = 0;             ///< link: what the name leads to
  bool is_directory = false;  ///< link
  std::string name, new_name;
  std::uint64_t offset = 0;  ///< write; truncate: the size
  std::string bytes;
};
using DiskTrace = std::vector<DiskOperation>;

/// What is lost of the first `length` operations: whole ones, and pages of writes (operation, page
/// from the write's first).
struct Loss {
  std::size_t length = 0;
  std::set<std::size_t> operations;
  std::set<std::pair<std::size_t, std::uint64_t>> pages;
};

/// The operations of the first `length` that no sync covers.
std::vector<std::size_t> unsynced(const DiskTrace& trace, std::size_t length);
std::uint64_t pages_of(const DiskOperation& write);

class MemoryFileSystem final : public FileSystem {
 public:
  MemoryFileSystem();
  /// The disk as a power cut may leave it.
  MemoryFileSystem(const DiskTrace& trace, const Loss& loss);

  std::unique_ptr<File> open(const Path& path, OpenMode mode) override;
  /// Refuses, by an error, what a real one refuses: offsets, sizes and addresses that are not
  /// multiples of 4 KiB.
  std::unique_ptr<File> open_direct(const Path& path, OpenMode mode) override;
  void make_directory(const Path& path) override;
  void rename(const Path& from, const Path& to) override;
  void remove(const Path& path) override;
  void sync_directory(const Path& path) override;
  std::vector<std::string> list(const Path& directory) override;
  bool exists(const Path& path) override;
  std::uint64_t free_bytes(const Path&) override { return std::uint64_t{1} << 40; }

  DiskTrace trace() const;
  std::size_t trace_length() const;

 private:
  friend class MemoryFile;
  struct Inode {
    bool is_directory = false;
    std::string bytes;
    std::map<std::string, int> names;
  };
  int find(const Path& path) const;  ///< -1 when missing
  int parent_of(const Path& path) const;
  int make(int directory, const std::string& name, bool is_directory);
  void unlink_tree(int directory, const std::string& name);
  void apply(const DiskOperation& operation, const std::set<std::uint64_t>& lost_pages);
  void perform(DiskOperation operation);

  mutable std::recursive_mutex mutex_;
  std::map<int, Inode> inodes_;
  int next_inode_ = 1;
  DiskTrace trace_;
};

}  // namespace muster::test
