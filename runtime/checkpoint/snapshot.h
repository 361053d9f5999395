/// Snapshot: the state of one rank at one step boundary, copied into memory of its own. What is
/// changed after take() is not in it. The memory is an image of those parts of the checkpoint file
/// that this rank writes, so that persisting it copies nothing. `Snapshot -> place -> restore`: on
/// disk by CheckpointEngine or commit_group, in memory by restore() into another tree.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/comm/communicator.h"

namespace muster {

/// A range of the file that one rank writes; `image` is where it starts in the snapshot's memory,
/// equal to `offset` modulo 4096.
struct Run {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t image = 0;
};

/// Plan: the layout of a file and who writes which bytes of it. Every byte belongs to one rank.
/// Made collectively; the same snapshots and saves can use it for as long as the tree keeps its
/// names, shapes and ranges.
class Plan {
 public:
  /// Collective over `group`. Throws Error(bug) when the ranks' ranges leave a hole or overlap,
  /// naming the tensor.
  static std::shared_ptr<const Plan> make(const StateTree& tree, Communicator& group);
  /// Of a tree that one rank holds whole.
  static std::shared_ptr<const Plan> make(const StateTree& tree);

  const Layout& layout() const { return layout_; }
  int rank() const { return rank_; }
  int ranks() const { return static_cast<int>(runs_.size()); }
  const std::vector<Run>& runs(int rank) const { return runs_.at(static_cast<std::size_t>(rank)); }
  const std::vector<Run>& own_runs() const { return runs(rank_); }
  std::uint64_t image_bytes() const { return image_bytes_; }
  /// True when `tree` has the tensors, ranges and records of the plan, and every text still has
  /// room.
  bool fits(const StateTree& tree) const;

  /// A piece of the tree's slice `slice` that this rank saves, and where it lies in the image.
  struct Copy {
    std::size_t slice = 0;
    std::uint64_t from = 0;  ///< byte in the slice
    std::uint64_t bytes = 0;
    std::uint64_t image = 0;
  };
  const std::vector<Copy>& copies() const { return copies_; }
  /// Where byte `offset` of the file lies in the image; nothing when another rank writes it.
  std::optional<std::uint64_t> image_of(std::uint64_t offset) const;

 private:
  Plan() = default;
  friend class PlanMaker;
  Layout layout_;
  int rank_ = 0;
  std::vector<std::vector<Run>> runs_;
  std::uint64_t image_bytes_ = 0;
  std::vector<TensorSlice> slices_;  // what the tree looked like; their bytes are never touched
  std::vector<Copy> copies_;
};

/// Page-aligned memory, every page touched when it is made. Move-only.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  explicit PinnedMemory(std::uint64_t bytes);
  PinnedMemory(PinnedMemory&& other) noexcept;
  PinnedMemory& operator=(PinnedMemory&& other) noexcept;
  ~PinnedMemory();
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

/// Moves bytes between a slice's memory and the host. The default serves host memory; the GPU
/// module brings one for streams.
class Mover {
 public:
  virtual ~Mover() = default;
  /// `from` is part of the memory of `slice`. Both may return before the bytes are there...
  virtual void out(std::span<std::byte> host, const TensorSlice& slice,
                   std::span<const std::byte> from) = 0;
  virtual void in(const TensorSlice& slice, std::span<std::byte> to,
                  std::span<const std::byte> host) = 0;
  virtual void finish() = 0;  ///< ...and are, after this
  /// Instead of finish() after out(): what is to be called, from any thread, before the bytes are
  /// read. The slices may change as soon as this returns.
  virtual std::function<void()> finish_later() {
    finish();
    return [] {};
  }
};
Mover& host_mover();

class Snapshot {
 public:
  explicit Snapshot(std::shared_ptr<const Plan> plan);

  /// Copies the state. Nothing is allocated. Throws Error(bug) when `tree` is not that of the plan.
  void take(const StateTree& tree, CheckpointInfo info, Mover& mover = host_mover());
  /// The same, without waiting for the bytes: call what comes back before image() is read.
  std::function<void()> begin(const StateTree& tree, CheckpointInfo info, Mover& mover);
  /// Copies it back, into the tree it came from or into another with the same names and shapes and
  /// ranges (a clone, a trial elsewhere). Not collective: one rank's part.
  void restore(StateTree& into, Mover& mover = host_mover()) const;

  const Plan& plan() const { return *plan_; }
  const std::shared_ptr<const Plan>& shared_plan() const { return plan_; }
  const CheckpointInfo& info() const { return info_; }
  std::span<const std::byte> image() const { return memory_.bytes(); }
  std::span<std::byte> image() { return memory_.bytes(); }

 private:
  void copy_skeleton();
  std::shared_ptr<const Plan> plan_;
  PinnedMemory memory_;
  CheckpointInfo info_;
};

}  // namespace muster
