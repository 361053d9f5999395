// SPDX-License-Identifier: Apache-2.0
#include "tests/support/memory_file_system.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/error.h"

namespace muster::test {
namespace {

constexpr std::uint64_t page = 4096;
using Kind = DiskOperation::Kind;

bool changes_a_file(Kind kind) {
  return kind == Kind::write || kind == Kind::truncate;
}
bool changes_names(Kind kind) {
  return kind == Kind::link || kind == Kind::unlink || kind == Kind::rename;
}

}  // namespace

std::uint64_t pages_of(const DiskOperation& write) {
  return (write.offset + write.bytes.size() + page - 1) / page - write.offset / page;
}

std::vector<std::size_t> unsynced(const DiskTrace& trace, std::size_t length) {
  std::vector<std::size_t> pending;
  for (std::size_t i = 0; i < length; ++i) {
    const DiskOperation& operation = trace[i];
    if (changes_a_file(operation.kind) || changes_names(operation.kind)) {
      pending.push_back(i);
    } else {
      const bool names = operation.kind == Kind::sync_directory;
      std::erase_if(pending, [&](std::size_t j) {
        return trace[j].inode == operation.inode && changes_names(trace[j].kind) == names;
      });
    }
  }
  return pending;
}

class MemoryFile final : public File {
 public:
  MemoryFile(MemoryFileSystem& files, int inode, bool direct, bool writable)
      : files_(files), inode_(inode), direct_(direct), writable_(writable) {}

  std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) override {
    check_aligned(offset, into.data(), into.size());
    const std::lock_guard lock(files_.mutex_);
    const std::string& bytes = files_.inodes_.at(inode_).bytes;
    if (offset >= bytes.size()) {
      return 0;
    }
    const std::size_t count = std::min<std::size_t>(into.size(), bytes.size() - offset);
    std::memcpy(into.data(), bytes.data() + offset, count);
    return count;
  }
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    check_aligned(offset, bytes.data(), bytes.size());
    if (!writable_) {
      throw_errno("write", EBADF);
    }
    files_.perform(
        {.kind = Kind::write,
         .inode = inode_,
         .offset = offset,
         .bytes = std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())});
  }
  void append(std::span<const std::byte> bytes) override { write_at(size(), bytes); }
  void sync() override { files_.perform({.kind = Kind::sync, .inode = inode_}); }
  void sync_data() override { sync(); }
  void allocate(std::uint64_t) override {}
  void truncate(std::uint64_t bytes) override {
    files_.perform({.kind = Kind::truncate, .inode = inode_, .offset = bytes});
  }
  std::uint64_t size() override {
    const std::lock_guard lock(files_.mutex_);
    return files_.inodes_.at(inode_).bytes.size();
  }
  bool is_direct() const noexcept override { return direct_; }

 private:
  void check_aligned(std::uint64_t offset, const void* address, std::size_t bytes) const {
    if (direct_ && (offset % page != 0 || bytes % page != 0 ||
                    reinterpret_cast<std::uintptr_t>(address) % page != 0)) {
      throw_errno("direct input or output off the page", EINVAL);
    }
  }
  MemoryFileSystem& files_;
  int inode_;
  bool direct_;
  bool writable_;
};

MemoryFileSystem::MemoryFileSystem() {
  inodes_[0].is_directory = true;
}

MemoryFileSystem::MemoryFileSystem(const DiskTrace& trace, const Loss& loss) : MemoryFileSystem() {
  for (std::size_t i = 0; i < loss.length; ++i) {
    if (!loss.operations.contains(i)) {
      std::set<std::uint64_t> lost;
      for (auto at = loss.pages.lower_bound({i, 0}); at != loss.pages.end() && at->first == i;
           ++at) {
        lost.insert(at->second);
      }
      apply(trace[i], lost);
    }
  }
  next_inode_ = 1 + static_cast<int>(trace.size());
}

void MemoryFileSystem::apply(const DiskOperation& operation,
                             const std::set<std::uint64_t>& lost_pages) {
  Inode& inode = inodes_[operation.inode];
  switch (operation.kind) {
    case Kind::link:
      inode.names[operation.name] = operation.target;
      inodes_[operation.target].is_directory = operation.is_directory;
      break;
    case Kind::unlink:
      inode.names.erase(operation.name);
      break;
    case Kind::rename:
      inode.names.erase(operation.name);
      inode.names[operation.new_name] = operation.target;
      inodes_[operation.target].is_directory = operation.is_directory;
      break;
    case Kind::truncate:
      inode.bytes.resize(operation.offset);
      break;
    case Kind::write: {
      const std::uint64_t end = operation.offset + operation.bytes.size();
      if (inode.bytes.size() < end) {
        inode.bytes.resize(end);
      }
      for (std::uint64_t at = operation.offset, number = 0; at < end; ++number) {
        const std::uint64_t next = std::min(end, (at / page + 1) * page);
        if (!lost_pages.contains(number)) {
          inode.bytes.replace(at, next - at, operation.bytes, at - operation.offset, next - at);
        }
        at = next;
      }
      break;
    }
    case Kind::sync:
    case Kind::sync_directory:
      break;
  }
}

void MemoryFileSystem::perform(DiskOperation operation) {
  const std::lock_guard lock(mutex_);
  apply(operation, {});
  trace_.push_back(std::move(operation));
}

int MemoryFileSystem::find(const Path& path) const {
  int at = 0;
  for (const Path& part : path.lexically_normal()) {
    if (part.empty() || part == "/" || part == ".") {
      continue;
    }
    const Inode& inode = inodes_.at(at);
    const auto next = inode.names.find(part.string());
    if (!inode.is_directory || next == inode.names.end()) {
      return -1;
    }
    at = next->second;
  }
  return at;
}

int MemoryFileSystem::parent_of(const Path& path) const {
  const int directory = find(path.parent_path());
  if (directory < 0) {
    throw_errno("find " + path.parent_path().string(), ENOENT);
  }
  return directory;
}

int MemoryFileSystem::make(int directory, const std::string& name, bool is_directory) {
  const int inode = next_inode_++;
  perform({.kind = Kind::link,
           .inode = directory,
           .target = inode,
           .is_directory = is_directory,
           .name = name});
  return inode;
}

std::unique_ptr<File> MemoryFileSystem::open(const Path& path, OpenMode mode) {
  const std::lock_guard lock(mutex_);
  int inode = find(path);
  const bool may_make =
      mode == OpenMode::create || mode == OpenMode::create_or_cut || mode == OpenMode::append;
  if (inode < 0 && !may_make) {
    throw_errno("open " + path.string(), ENOENT);
  }
  if (inode >= 0 && mode == OpenMode::create) {
    throw_errno("create " + path.string(), EEXIST);
  }
  if (inode < 0) {
    inode = make(parent_of(path), path.filename().string(), false);
  } else if (mode == OpenMode::create_or_cut) {
    perform({.kind = Kind::truncate, .inode = inode, .offset = 0});
  }
  return std::make_unique<MemoryFile>(*this, inode, false, mode != OpenMode::read);
}

std::unique_ptr<File> MemoryFileSystem::open_direct(const Path& path, OpenMode mode) {
  const std::lock_guard lock(mutex_);
  const int inode = find(path);
  if (inode < 0) {
    throw_errno("open " + path.string(), ENOENT);
  }
  return std::make_unique<MemoryFile>(*this, inode, true, mode != OpenMode::read);
}

void MemoryFileSystem::make_directory(const Path& path) {
  const std::lock_guard lock(mutex_);
  Path so_far;
  for (const Path& part : path.lexically_normal()) {
    const Path before = so_far;
    so_far /= part;
    if (find(so_far) < 0) {
      make(find(before), part.string(), true);
    }
  }
}

void MemoryFileSystem::rename(const Path& from, const Path& to) {
  const std::lock_guard lock(mutex_);
  const int inode = find(from);
  const int directory = parent_of(to);
  if (inode < 0) {
    throw_errno("rename " + from.string(), ENOENT);
  }
  require(parent_of(from) == directory, "this model renames within one directory");
  const int old = find(to);
  if (old >= 0 && inodes_.at(old).is_directory && !inodes_.at(old).names.empty()) {
    throw_errno("rename to " + to.string(), ENOTEMPTY);
  }
  perform({.kind = Kind::rename,
           .inode = directory,
           .target = inode,
           .is_directory = inodes_.at(inode).is_directory,
           .name = from.filename().string(),
           .new_name = to.filename().string()});
}

void MemoryFileSystem::unlink_tree(int directory, const std::string& name) {
  const int inode = inodes_.at(directory).names.at(name);
  const auto inner = inodes_.at(inode).names;
  for (const auto& [child, number] : inner) {
    unlink_tree(inode, child);
  }
  perform({.kind = Kind::unlink, .inode = directory, .name = name});
}

void MemoryFileSystem::remove(const Path& path) {
  const std::lock_guard lock(mutex_);
  if (find(path) >= 0) {
    unlink_tree(parent_of(path), path.filename().string());
  }
}

void MemoryFileSystem::sync_directory(const Path& path) {
  const std::lock_guard lock(mutex_);
  const int inode = find(path);
  if (inode < 0) {
    throw_errno("open directory " + path.string(), ENOENT);
  }
  perform({.kind = Kind::sync_directory, .inode = inode});
}

std::vector<std::string> MemoryFileSystem::list(const Path& directory) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  if (const int inode = find(directory); inode >= 0) {
    for (const auto& [name, number] : inodes_.at(inode).names) {
      names.push_back(name);
    }
  }
  return names;
}

bool MemoryFileSystem::exists(const Path& path) {
  const std::lock_guard lock(mutex_);
  return find(path) >= 0;
}

DiskTrace MemoryFileSystem::trace() const {
  const std::lock_guard lock(mutex_);
  return trace_;
}

std::size_t MemoryFileSystem::trace_length() const {
  const std::lock_guard lock(mutex_);
  return trace_.size();
}

}  // namespace muster::test
