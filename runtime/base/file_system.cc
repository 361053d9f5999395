// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/file_system.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "runtime/base/error.h"
#include "runtime/base/handle.h"

namespace muster {
namespace {

[[noreturn]] void fail(std::string_view what, const Path& path) {
  throw_errno(fmt::format("{} {}", what, path.string()), errno);
}

class PosixFile final : public File {
 public:
  PosixFile(Path path, Descriptor descriptor, bool direct)
      : path_(std::move(path)), descriptor_(std::move(descriptor)), direct_(direct) {}

  std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) override {
    std::size_t done = 0;
    while (done < into.size()) {
      const auto got = ::pread(descriptor_.get(), into.data() + done, into.size() - done,
                               static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got < 0) {
        fail("read", path_);
      }
      if (got == 0) {
        break;
      }
      done += static_cast<std::size_t>(got);
      if (direct_ && got % 4096 != 0) {
        break;  // the end of the file; asking on from an uneven place would be refused
      }
    }
    return done;
  }

  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const auto put =
          ::pwrite(descriptor_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      bytes = bytes.subspan(advance(put));
      offset += static_cast<std::uint64_t>(std::max<ssize_t>(put, 0));
    }
  }

  void append(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      bytes = bytes.subspan(advance(::write(descriptor_.get(), bytes.data(), bytes.size())));
    }
  }

  void sync() override { check(::fsync(descriptor_.get()), "fsync"); }
  void sync_data() override { check(::fdatasync(descriptor_.get()), "fdatasync"); }
  void truncate(std::uint64_t bytes) override {
    check(::ftruncate(descriptor_.get(), static_cast<off_t>(bytes)), "truncate");
  }

  void allocate(std::uint64_t bytes) override {
    if (bytes == 0 ||
        ::fallocate(descriptor_.get(), FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) == 0 ||
        errno == EOPNOTSUPP ||
        errno == ENOSYS) {  // a file system without it allocates while writing
      return;
    }
    fail("reserve space for", path_);
  }

  std::uint64_t size() override {
    struct stat info {};
    check(::fstat(descriptor_.get(), &info), "stat");
    return static_cast<std::uint64_t>(info.st_size);
  }

  bool is_direct() const noexcept override { return direct_; }

 private:
  std::size_t advance(ssize_t put) const {
    if (put < 0 && errno != EINTR) {
      fail("write", path_);
    }
    return static_cast<std::size_t>(std::max<ssize_t>(put, 0));
  }
  void check(int result, std::string_view what) const {
    if (result != 0) {
      fail(what, path_);
    }
  }

  Path path_;
  Descriptor descriptor_;
  bool direct_;
};

int flags_of(OpenMode mode) {
  switch (mode) {
    case OpenMode::read:
      return O_RDONLY;
    case OpenMode::read_write:
      return O_RDWR;
    case OpenMode::create:
      return O_RDWR | O_CREAT | O_EXCL;
    case OpenMode::create_or_cut:
      return O_RDWR | O_CREAT | O_TRUNC;
    case OpenMode::append:
      return O_RDWR | O_CREAT | O_APPEND;
  }
  return O_RDONLY;
}

class PosixFileSystem final : public FileSystem {
 public:
  std::unique_ptr<File> open(const Path& path, OpenMode mode) override {
    Descriptor descriptor(::open(path.c_str(), flags_of(mode) | O_CLOEXEC, 0666));
    if (!descriptor) {
      fail(mode == OpenMode::read || mode == OpenMode::read_write ? "open" : "create", path);
    }
    return std::make_unique<PosixFile>(path, std::move(descriptor), false);
  }

  std::unique_ptr<File> open_direct(const Path& path, OpenMode mode) override {
    Descriptor descriptor(::open(path.c_str(), flags_of(mode) | O_DIRECT | O_CLOEXEC));
    if (!descriptor && errno == EINVAL) {
      return nullptr;
    }
    if (!descriptor) {
      fail("open", path);
    }
    return std::make_unique<PosixFile>(path, std::move(descriptor), true);
  }

  void make_directory(const Path& path) override {
    std::error_code code;
    std::filesystem::create_directories(path, code);
    if (code) {
      throw_errno("make directory " + path.string(), code.value());
    }
  }

  void rename(const Path& from, const Path& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) {
      throw_errno(fmt::format("rename {} to {}", from.string(), to.string()), errno);
    }
  }

  void remove(const Path& path) override {
    std::error_code code;
    std::filesystem::remove_all(path, code);
    if (code) {
      throw_errno("remove " + path.string(), code.value());
    }
  }

  void sync_directory(const Path& path) override {
    const Path directory = path.empty() ? Path(".") : path;
    const Descriptor descriptor(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!descriptor) {
      fail("open directory", directory);
    }
    if (::fsync(descriptor.get()) != 0 && errno != EINVAL) {  // some network file systems refuse it
      fail("fsync directory", directory);
    }
  }

  std::vector<std::string> list(const Path& directory) override {
    std::vector<std::string> names;
    std::error_code code;
    for (const auto& entry : std::filesystem::directory_iterator(directory, code)) {
      names.push_back(entry.path().filename().string());
    }
    if (code && code != std::errc::no_such_file_or_directory) {
      throw_errno("list " + directory.string(), code.value());
    }
    std::ranges::sort(names);
    return names;
  }

  bool exists(const Path& path) override {
    std::error_code code;
    return std::filesystem::exists(path, code);
  }

  std::uint64_t free_bytes(const Path& path) override {
    struct statvfs info {};
    if (::statvfs(path.c_str(), &info) != 0) {
      fail("ask for the free space of", path);
    }
    return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
  }
};

/// A name beside `path` that no other writer has: of this host's process and of this call.
Path temporary_beside(const Path& path) {
  static std::atomic<unsigned> counter{0};
  Path name = path;
  name += fmt::format(".{}.{}.tmp", ::getpid(), counter++);
  return name;
}

void replace_file(const Path& path, std::string_view text, FileSystem& files, bool durable) {
  const Path temporary = temporary_beside(path);
  try {
    auto file = files.open(temporary, OpenMode::create_or_cut);
    file->append(as_bytes(text));
    if (durable) {
      file->sync();
    }
    file.reset();
    files.rename(temporary, path);
  } catch (...) {
    try {
      files.remove(temporary);
    } catch (...) {  // the first error is the one to tell
    }
    throw;
  }
  if (durable) {
    files.sync_directory(path.parent_path());
  }
}

}  // namespace

FileSystem& posix_file_system() {
  static PosixFileSystem the_file_system;
  return the_file_system;
}

std::string read_file(const Path& path, FileSystem& files) {
  auto file = files.open(path, OpenMode::read);
  std::string text(file->size(), '\0');
  for (std::size_t done = 0;;) {  // files below /proc say that they are empty: read until the end
    const auto got = file->read_at(done, std::as_writable_bytes(std::span(text).subspan(done)));
    done += got;
    if (done < text.size()) {
      text.resize(done);
      return text;
    }
    text.resize(done + 4096);
  }
}

std::optional<std::string> read_file_if_there(const Path& path, FileSystem& files) {
  if (!files.exists(path)) {
    return std::nullopt;
  }
  return read_file(path, files);
}

void write_file_durably(const Path& path, std::string_view text, FileSystem& files) {
  replace_file(path, text, files, true);
}

void write_file_atomically(const Path& path, std::string_view text, FileSystem& files) {
  replace_file(path, text, files, false);
}

void make_directory_durably(const Path& path, FileSystem& files) {
  if (!path.has_relative_path()) {
    return;
  }
  const Path parent = path.parent_path();
  if (!parent.empty() && !files.exists(parent)) {
    make_directory_durably(parent, files);
  }
  files.make_directory(path);
  files.sync_directory(parent);  // also when it was there: whoever made it may not have
}

}  // namespace muster
