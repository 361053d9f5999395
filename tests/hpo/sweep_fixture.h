/// What the tests of sweeps share: a temporary directory, a small setup, the final table as text.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hpo/study.h"
#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster::hpo {

/// The machine's files without waiting for the disk: thousands of commits in a unit test.
class FilesWithoutSync final : public FileSystem {
 public:
  std::unique_ptr<File> open(const Path& path, OpenMode mode) override {
    return std::make_unique<Quick>(posix_file_system().open(path, mode), room);
  }
  /// Bytes that may still be appended: the disk is full after them, in the middle of a write.
  std::uint64_t room = ~std::uint64_t{0};

  std::unique_ptr<File> open_direct(const Path& path, OpenMode mode) override {
    return posix_file_system().open_direct(path, mode);
  }
  void make_directory(const Path& path) override { posix_file_system().make_directory(path); }
  void rename(const Path& from, const Path& to) override { posix_file_system().rename(from, to); }
  void remove(const Path& path) override { posix_file_system().remove(path); }
  void sync_directory(const Path&) override {}
  std::vector<std::string> list(const Path& path) override {
    return posix_file_system().list(path);
  }
  bool exists(const Path& path) override { return posix_file_system().exists(path); }
  std::uint64_t free_bytes(const Path& path) override {
    return posix_file_system().free_bytes(path);
  }

 private:
  class Quick final : public File {
   public:
    Quick(std::unique_ptr<File> file, std::uint64_t& room) : file_(std::move(file)), room_(room) {}
    std::size_t read_at(std::uint64_t offset, std::span<std::byte> into) override {
      return file_->read_at(offset, into);
    }
    void write_at(std::uint64_t offset, std::span<const std::byte> bytes) override {
      file_->write_at(offset, bytes);
    }
    void append(std::span<const std::byte> bytes) override {
      const std::size_t fits = std::min<std::uint64_t>(bytes.size(), room_);
      file_->append(bytes.first(fits));
      room_ -= fits;
      if (fits < bytes.size()) {
        throw_errno("write", ENOSPC);
      }
    }
    void sync() override {}
    void sync_data() override {}
    void allocate(std::uint64_t bytes) override { file_->allocate(bytes); }
    void truncate(std::uint64_t bytes) override { file_->truncate(bytes); }
    std::uint64_t size() override { return file_->size(); }
    bool is_direct() const noexcept override { return false; }

   private:
    std::unique_ptr<File> file_;
    std::uint64_t& room_;
  };
};

class SweepFixture : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    directory_ = testing::TempDir() + "sweep_" + std::to_string(::getpid()) + "_" +
                 info->test_suite_name() + "_" + info->name();
    posix_file_system().make_directory(directory_);
    log::set_sink([](log::Level, std::string_view) {});
  }
  void TearDown() override {
    log::set_sink({});
    posix_file_system().remove(directory_);
  }
  Path journal() const { return directory_ / "journal"; }
  Path directory_;
  FilesWithoutSync files_;
};

inline StudySetup small_setup(const std::string& scheduler = "fifo", double max_resource = 0.0) {
  StudySetup setup;
  setup.name = "small";
  setup.objective = "min loss";
  const std::vector<SpaceLine> lines = {{"lr", "log 1e-4 1e-1", "test:1"},
                                        {"depth", "int 1 8", "test:2"},
                                        {"kind", "choice mlp cnn", "test:3"}};
  setup.space = Space::parse(lines);
  setup.scheduler = scheduler;
  setup.scheduling.max_resource = max_resource;
  setup.scheduling.min_resource = max_resource > 0.0 ? 1.0 : 0.0;
  if (scheduler == "asha" || scheduler == "hyperband") {
    setup.searching.min_resource = 1.0;
    setup.searching.max_resource = max_resource;
  }
  return setup;
}

/// Lower for larger resources; best at lr = 1e-2, depth = 4.
inline double bowl(const Config& config, double resource) {
  const double lr = std::log10(config.values[0]) + 2.0;
  const double depth = (config.values[1] - 4.0) / 8.0;
  return lr * lr + depth * depth + 1.0 / (1.0 + resource);
}

/// What may not depend on when processes died: times and slots are left out.
inline std::string final_table(const SweepState& state) {
  std::string table;
  for (const Trial& trial : state.trials()) {
    table += std::to_string(trial.id) + " " + std::string(name_of(trial.state)) + " " +
             (trial.value ? exact(*trial.value) : "-") + " " + exact(trial.resource) + " " +
             std::to_string(trial.failures) + " " + std::to_string(trial.bracket);
    for (const double value : trial.config.values) {
      table += " " + exact(value);
    }
    for (const Trial::Point& point : trial.curve) {
      table += " " + exact(point.value) + "/" + std::string(name_of(point.verdict.decision));
    }
    table += "\n";
  }
  return table + state.over().value_or("not over") + "\n";
}

}  // namespace muster::hpo
