/// LocalGroup: the NodeGroup of ranks that share memory, as threads or as processes. WindowSource
/// and Peers say which. share(), barrier() and split() are collective. The block, its Peers and
/// parent group must outlive it. Not thread-safe, but for abort().
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "collectives/node/shared_barrier.h"
#include "runtime/comm/node_group.h"

namespace muster {

/// Where shared memory comes from. One member makes a window, every member attaches to it by name.
class WindowSource {
 public:
  virtual ~WindowSource() = default;
  virtual int ways() const noexcept = 0;  ///< ways of making a window, the best is 0
  virtual std::string make(std::size_t bytes, int way) = 0;
  /// Reserves the member's part of the pages, so that they lie near it, and maps all.
  virtual std::unique_ptr<SharedMemory> attach(const std::string& name, std::size_t bytes,
                                               int member, int size) = 0;
  virtual void all_attached() noexcept = 0;  ///< the maker may drop the name
};

/// What is known of the other ranks of the machine beside their arrivals. Ranks are those of the
/// whole node.
class Peers {
 public:
  virtual ~Peers() = default;
  virtual std::string name(int rank) const = 0;                  ///< "rank 3"
  virtual std::string trouble(int rank, bool missing) = 0;       ///< as Watch
  virtual void follow(WaitPolicy policy) = 0;                    ///< as Watch
  virtual void aborted(std::string_view sentence) noexcept = 0;  ///< tells who watches from outside
};

/// Where in the memory shared by a group something lies: the same words mean the same bytes on
/// every member.
struct WindowPlace {
  std::uint32_t window = 0;  ///< 0: in none
  std::uint64_t offset = 0;
  bool operator==(const WindowPlace&) const = default;
};

class LocalGroup final : public NodeGroup, private Watch {
 public:
  struct Parts {
    GroupBlock* block = nullptr;
    int rank = 0;
    int size = 1;
    bool core_each = false;
    std::shared_ptr<WindowSource> source;  ///< shared with subgroups
    std::shared_ptr<Peers> peers;          ///< shared with subgroups
  };
  explicit LocalGroup(Parts parts);
  ~LocalGroup() override;

  int rank() const noexcept override { return barrier_.member(); }
  int size() const noexcept override { return barrier_.size(); }
  std::unique_ptr<SharedMemory> share(std::size_t bytes) override;
  void barrier() override;
  Nanoseconds waited() const noexcept override { return barrier_.waited(); }
  void abort(std::string_view why) noexcept override;

  /// Null for a negative colour. The subgroup fails when this group does, not the other way round.
  std::unique_ptr<LocalGroup> split(int colour, int key);
  std::string name_of(int rank) const;
  /// Ends the group for all members with a sentence of its own.
  void fail(std::string_view sentence) noexcept { barrier_.fail(sentence); }

  /// A sentence when the group is over or a member has died, else empty. From any thread: for those
  /// who wait elsewhere than in barrier().
  std::string trouble_seen() const;

  /// Nothing when the memory is not, as a whole, in a window that all members have.
  std::optional<WindowPlace> place_of(const void* data, std::size_t bytes) const;
  std::byte* address_of(WindowPlace place, std::size_t bytes) const;

 private:
  class Windows;
  class RegisteredWindow;

  LocalGroup(Parts parts, const LocalGroup& parent, std::vector<int> ranks,
             std::unique_ptr<SharedMemory> memory);
  std::unique_ptr<SharedMemory> share_in_way(std::size_t bytes, int way);
  std::string trouble(int member, bool missing) override;
  void follow(WaitPolicy policy) override;

  Parts parts_;
  const LocalGroup* parent_ = nullptr;
  std::vector<int> ranks_;                // members as ranks of the node
  std::unique_ptr<SharedMemory> memory_;  // holds the block of a subgroup
  std::shared_ptr<Windows>
      windows_;  // shared by the groups and windows of this process, which end in any order
  std::uint32_t scope_ = 0;
  SharedBarrier barrier_;
};

}  // namespace muster
