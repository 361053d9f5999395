// SPDX-License-Identifier: Apache-2.0
#include "collectives/node/local_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <tuple>

#include "collectives/node/shared_text.h"
#include "runtime/base/error.h"

namespace muster {

/// The windows that this rank has mapped, and which group each belongs to.
class LocalGroup::Windows {
 public:
  struct Entry {
    std::uint32_t id;
    std::uint32_t scope;
    std::byte* base;
    std::size_t bytes;
  };
  std::uint32_t new_scope() { return ++scopes_; }
  std::uint32_t new_window() { return ++made_; }
  void add(Entry entry) { entries_.push_back(entry); }
  void remove(std::uint32_t id) {
    std::erase_if(entries_, [id](const Entry& entry) { return entry.id == id; });
  }
  const Entry* holding(const std::byte* data, std::size_t bytes) const {
    const auto holds = [&](const Entry& entry) {
      return data >= entry.base && data + bytes <= entry.base + entry.bytes;
    };
    const auto found = std::ranges::find_if(entries_, holds);
    return found == entries_.end() ? nullptr : &*found;
  }
  const Entry* with_id(std::uint32_t id) const {
    const auto found = std::ranges::find(entries_, id, &Entry::id);
    return found == entries_.end() ? nullptr : &*found;
  }

 private:
  std::vector<Entry> entries_;
  std::uint32_t scopes_ = 0;
  std::uint32_t made_ = 0;
};

class LocalGroup::RegisteredWindow final : public SharedMemory {
 public:
  RegisteredWindow(std::unique_ptr<SharedMemory> memory, std::shared_ptr<Windows> windows,
                   std::uint32_t id, std::uint32_t scope)
      : memory_(std::move(memory)), windows_(std::move(windows)), id_(id) {
    windows_->add({id, scope, memory_->bytes().data(), memory_->bytes().size()});
  }
  RegisteredWindow(const RegisteredWindow&) = delete;
  RegisteredWindow& operator=(const RegisteredWindow&) = delete;
  ~RegisteredWindow() override { windows_->remove(id_); }
  std::span<std::byte> bytes() noexcept override { return memory_->bytes(); }

 private:
  std::unique_ptr<SharedMemory> memory_;
  std::shared_ptr<Windows> windows_;
  std::uint32_t id_;
};

LocalGroup::LocalGroup(Parts parts)
    : parts_(std::move(parts)),
      ranks_(static_cast<std::size_t>(parts_.size)),
      windows_(std::make_shared<Windows>()),
      barrier_(*parts_.block, parts_.rank, parts_.size, parts_.core_each, *this) {
  std::iota(ranks_.begin(), ranks_.end(), 0);
}

LocalGroup::LocalGroup(Parts parts, const LocalGroup& parent, std::vector<int> ranks,
                       std::unique_ptr<SharedMemory> memory)
    : parts_(std::move(parts)),
      parent_(&parent),
      ranks_(std::move(ranks)),
      memory_(std::move(memory)),
      windows_(parent.windows_),
      scope_(windows_->new_scope()),
      barrier_(*parts_.block, parts_.rank, parts_.size, parts_.core_each, *this) {}

LocalGroup::~LocalGroup() = default;

void LocalGroup::barrier() {
  for (const auto* group = parent_; group != nullptr; group = group->parent_) {
    group->barrier_.check();
  }
  if (size() > 1) {
    barrier_.arrive_and_wait();
  } else {
    barrier_.check();
  }
}

void LocalGroup::abort(std::string_view why) noexcept {
  try {
    const auto sentence = fmt::format("{} aborted: {}", name_of(rank()), why);
    barrier_.fail(sentence);
    if (parent_ == nullptr) {
      parts_.peers->aborted(sentence);
    }
  } catch (...) {
    barrier_.fail("a rank aborted");
  }
}

std::string LocalGroup::name_of(int rank) const {
  return parts_.peers->name(ranks_[static_cast<std::size_t>(rank)]);
}

std::unique_ptr<SharedMemory> LocalGroup::share(std::size_t bytes) {
  require(bytes > 0, "share() needs at least one byte");
  for (int way = 0;; ++way) {
    if (auto memory = share_in_way(bytes, way)) {
      return memory;
    }
    if (way + 1 == parts_.source->ways()) {
      throw Error(Fault::io, read_shared(parts_.block->window_failure));
    }
  }
}

/// Null on every member when any of them could not.
std::unique_ptr<SharedMemory> LocalGroup::share_in_way(std::size_t bytes, int way) {
  auto& block = *parts_.block;
  const auto try_to = [&block](auto&& body) {
    try {
      body();
    } catch (const std::exception& error) {
      if (block.window_failed.fetch_add(1) == 0) {
        write_shared(block.window_failure, report(error));
      }
    }
  };
  if (rank() == 0) {
    block.window_failed = 0;
    block.window =
        windows_->new_window() * GroupBlock::most_members + static_cast<std::uint32_t>(ranks_[0]);
    try_to([&] { write_shared(block.window_name, parts_.source->make(bytes, way)); });
  }
  barrier();
  std::unique_ptr<SharedMemory> memory;
  if (block.window_failed == 0) {
    barrier();  // nobody fails before all have seen that the window is there
    try_to([&] {
      memory = parts_.source->attach(read_shared(block.window_name), bytes, rank(), size());
    });
  }
  barrier();
  const bool failed = block.window_failed != 0;
  const auto id = block.window.load();
  if (rank() == 0) {
    parts_.source->all_attached();
  }
  barrier();  // all have read; member 0 may begin the next one
  if (failed) {
    return nullptr;
  }
  return std::make_unique<RegisteredWindow>(std::move(memory), windows_, id, scope_);
}

std::unique_ptr<LocalGroup> LocalGroup::split(int colour, int key) {
  struct Wish {
    int colour;
    int key;
  };
  const auto members = static_cast<std::size_t>(size());
  auto memory = share(members * (sizeof(GroupBlock) + sizeof(Wish)));
  auto* wishes = reinterpret_cast<Wish*>(memory->bytes().data() + members * sizeof(GroupBlock));
  wishes[rank()] = {colour, key};
  barrier();
  std::vector<std::tuple<int, int>> chosen;  // key, member of this group
  for (int member = 0; member < size(); ++member) {
    if (wishes[member].colour == colour) {
      chosen.emplace_back(wishes[member].key, member);
    }
  }
  std::ranges::sort(chosen);
  barrier();  // nobody unmaps before all have read
  if (colour < 0) {
    return nullptr;
  }
  std::vector<int> ranks;
  Parts parts = parts_;
  int first = size();
  for (const auto& [its_key, member] : chosen) {
    parts.rank = member == rank() ? static_cast<int>(ranks.size()) : parts.rank;
    first = std::min(first, member);
    ranks.push_back(ranks_[static_cast<std::size_t>(member)]);
  }
  parts.size = static_cast<int>(ranks.size());
  parts.block = reinterpret_cast<GroupBlock*>(memory->bytes().data()) + first;
  return std::unique_ptr<LocalGroup>(
      new LocalGroup(std::move(parts), *this, std::move(ranks), std::move(memory)));
}

std::optional<WindowPlace> LocalGroup::place_of(const void* data, std::size_t bytes) const {
  const auto* address = static_cast<const std::byte*>(data);
  const auto* entry = windows_->holding(address, bytes);
  for (const auto* group = this; entry != nullptr && group != nullptr; group = group->parent_) {
    if (entry->scope == group->scope_) {
      return WindowPlace{.window = entry->id,
                         .offset = static_cast<std::uint64_t>(address - entry->base)};
    }
  }
  return std::nullopt;
}

std::byte* LocalGroup::address_of(WindowPlace place, std::size_t bytes) const {
  const auto* entry = windows_->with_id(place.window);
  require(entry != nullptr && place.offset + bytes <= entry->bytes,
          "another rank's buffer is in a window that this rank has dropped");
  return entry->base + place.offset;
}

std::string LocalGroup::trouble(int member, bool missing) {
  for (const auto* group = parent_; group != nullptr; group = group->parent_) {
    if (group->barrier_.block().failed.load(std::memory_order_acquire) == 2) {
      return read_shared(group->barrier_.block().failure);
    }
  }
  return parts_.peers->trouble(ranks_[static_cast<std::size_t>(member)], missing);
}

std::string LocalGroup::trouble_seen() const {
  const auto& block = *parts_.block;
  if (block.failed.load(std::memory_order_acquire) == 2) {
    return read_shared(block.failure);
  }
  for (int member = 0; member < size(); ++member) {
    if (member == rank()) {
      continue;
    }
    auto sentence = parts_.peers->trouble(ranks_[static_cast<std::size_t>(member)], false);
    if (!sentence.empty()) {
      return sentence;
    }
  }
  return {};
}

/// Subgroups take turns on the same cores: only the whole node is pinned.
void LocalGroup::follow(WaitPolicy policy) {
  if (parent_ == nullptr) {
    parts_.peers->follow(policy);
  }
}

}  // namespace muster
