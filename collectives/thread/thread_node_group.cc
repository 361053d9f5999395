// SPDX-License-Identifier: Apache-2.0
#include "collectives/thread/thread_node_group.h"

#include <fmt/format.h>

#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <thread>

#include "runtime/base/error.h"

namespace muster {
namespace {

constexpr std::align_val_t page{4096};

struct PageDelete {
  void operator()(std::byte* memory) const { ::operator delete[](memory, page); }
};
using Pages = std::unique_ptr<std::byte[], PageDelete>;

class ThreadMemory final : public SharedMemory {
 public:
  ThreadMemory(std::shared_ptr<Pages> pages, std::size_t bytes)
      : pages_(std::move(pages)), bytes_(bytes) {}
  std::span<std::byte> bytes() noexcept override { return {pages_->get(), bytes_}; }

 private:
  std::shared_ptr<Pages> pages_;  // the last thread to let go frees
  std::size_t bytes_;
};

/// One for all threads, and the block of the whole group, which so lives as long as any of them.
class ThreadWindows final : public WindowSource {
 public:
  GroupBlock block;

  int ways() const noexcept override { return 1; }
  std::string make(std::size_t bytes, int /*way*/) override {
    auto pages = std::make_shared<Pages>(new (page) std::byte[bytes]);
    std::memset(pages->get(), 0, bytes);
    const std::lock_guard lock(mutex_);
    auto name = fmt::format("{}", ++made_);
    windows_[name] = std::move(pages);
    return name;
  }
  /// The last one to attach takes the entry with it.
  std::unique_ptr<SharedMemory> attach(const std::string& name, std::size_t bytes, int /*member*/,
                                       int size) override {
    const std::lock_guard lock(mutex_);
    auto pages = windows_.at(name);
    if (++attached_[name] == size) {
      windows_.erase(name);
      attached_.erase(name);
    }
    return std::make_unique<ThreadMemory>(std::move(pages), bytes);
  }
  void all_attached() noexcept override {}

 private:
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Pages>> windows_;
  std::map<std::string, int> attached_;
  int made_ = 0;
};

/// Threads do not die alone.
class ThreadPeers final : public Peers {
 public:
  std::string name(int rank) const override { return fmt::format("rank {}", rank); }
  std::string trouble(int /*rank*/, bool /*missing*/) override { return {}; }
  void follow(WaitPolicy /*policy*/) override {}
  void aborted(std::string_view /*sentence*/) noexcept override {}
};

}  // namespace

std::vector<std::unique_ptr<LocalGroup>> thread_node_groups(int size) {
  require(size > 0, "a group has at least one rank");
  auto source = std::make_shared<ThreadWindows>();
  auto peers = std::make_shared<ThreadPeers>();
  const bool core_each = static_cast<unsigned>(size) <= std::thread::hardware_concurrency();
  std::vector<std::unique_ptr<LocalGroup>> groups;
  for (int rank = 0; rank < size; ++rank) {
    groups.push_back(std::make_unique<LocalGroup>(LocalGroup::Parts{.block = &source->block,
                                                                    .rank = rank,
                                                                    .size = size,
                                                                    .core_each = core_each,
                                                                    .source = source,
                                                                    .peers = peers}));
  }
  return groups;
}

}  // namespace muster
