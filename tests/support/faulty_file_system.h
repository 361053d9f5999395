/// FaultyFileSystem: another file system that fails on command: full, read-only, broken, or cutting
/// a write short. The rule is asked before each operation that changes the disk, from whatever
/// thread does it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/base/error.h"
#include "runtime/base/file_system.h"

namespace muster::test {

struct Fate {
  int error = 0;            ///< an errno; 0: nothing happens
  bool after_half = false;  ///< of a write: half of it is there first
};
/// `operation` is "create", "write", "sync", "allocate", "truncate", "make_directory", "rename",
/// "remove", "sync_directory".
using FaultRule = std::function<Fate(std::string_view operation, const Path& path)>;

class FaultyFileSystem final : public FileSystem {
 public:
  FaultyFileSystem(FileSystem& inner, FaultRule rule) : inner_(inner), rule_(std::move(rule)) {}

  std::unique_ptr<File> open(const Path& path, OpenMode mode) override {
    if (mode != OpenMode::read && mode != OpenMode::read_write) {
      ask("create", path);
    }
    return wrap(inner_.open(path, mode), path);
  }
  std::unique_ptr<File> open_direct(const Path& path, OpenMode mode) override {
    return refuses_direct ? nullptr : wrap(inner_.open_direct(path, mode), path);
  }
  void make_directory(const Path& path) override {
    ask("make_directory", path), inner_.make_directory(path);
  }
  void rename(const Path& from, const Path& to) override {
    ask("rename", to), inner_.rename(from, to);
  }
  void remove(const Path& path) override { ask("remove", path), inner_.remove(path); }
  void sync_directory(const Path& path) override {
    ask("sync_directory", path), inner_.sync_directory(path);
  }
  std::vector<std::string> list(const Path& directory) override { return inner_.list(directory); }
  bool exists(const Path& path) override { return inner_.exists(path); }
  std::uint64_t free_bytes(const Path& path) override { return inner_.free_bytes(path); }

  bool refuses_direct = false;

 private:
  class FaultyFile final : public File {
   public:
    FaultyFile(std::unique_ptr<File> inner, Path path, FaultyFileSystem& files)
        : inner_(std::move(inner)), path_(std::move(path)), files_(files) {}
    std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) override {
      return inner_->read_at(offset, into);
    }
    void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      const Fate fate = files_.rule_("write", path_);
      if (fate.after_half) {
        inner_->write_at(offset, bytes.first(bytes.size() / 2 / 4096 * 4096));
      }
      fail(fate, "write", path_);
      inner_->write_at(offset, bytes);
    }
    void append(std::span<const std::byte> bytes) override { write_at(size(), bytes); }
    void sync() override { files_.ask("sync", path_), inner_->sync(); }
    void sync_data() override { files_.ask("sync", path_), inner_->sync_data(); }
    void allocate(std::uint64_t bytes) override {
      files_.ask("allocate", path_), inner_->allocate(bytes);
    }
    void truncate(std::uint64_t bytes) override {
      files_.ask("truncate", path_), inner_->truncate(bytes);
    }
    std::uint64_t size() override { return inner_->size(); }
    bool is_direct() const noexcept override { return inner_->is_direct(); }

   private:
    std::unique_ptr<File> inner_;
    Path path_;
    FaultyFileSystem& files_;
  };

  std::unique_ptr<File> wrap(std::unique_ptr<File> file, const Path& path) {
    return file ? std::make_unique<FaultyFile>(std::move(file), path, *this) : nullptr;
  }
  static void fail(const Fate& fate, std::string_view operation, const Path& path) {
    if (fate.error != 0) {
      throw_errno(std::string(operation) + " " + path.string(), fate.error);
    }
  }
  void ask(std::string_view operation, const Path& path) {
    fail(rule_(operation, path), operation, path);
  }

  FileSystem& inner_;
  FaultRule rule_;
};

}  // namespace muster::test
