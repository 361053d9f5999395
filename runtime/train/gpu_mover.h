/// GpuMover: carries the state from the GPU to a checkpoint. The compute queue pays for one copy
/// inside the GPU; the copy queue takes it from there to pinned memory while training goes on, and
/// whoever writes the checkpoint waits for that. Where the GPU has no room for the copy, the
/// compute queue waits for the host's. The host itself waits only where it has no pinned memory.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "runtime/checkpoint/snapshot.h"
#include "runtime/gpu/gpu.h"

namespace muster {

class GpuMover final : public Mover {
 public:
  explicit GpuMover(Gpu& gpu) : gpu_(gpu) {}

  void out(std::span<std::byte> host, const TensorSlice& slice,
           std::span<const std::byte> from) override;
  void in(const TensorSlice& slice, std::span<std::byte> to,
          std::span<const std::byte> host) override;
  void finish() override;
  std::function<void()> finish_later() override;

 private:
  struct Piece {
    std::span<std::byte> host;
    std::span<const std::byte> from;
    std::size_t at = 0;
  };
  /// Two of them: one is written to disk while the next is filled.
  struct Pinned {
    std::shared_ptr<std::byte> memory;
    std::size_t bytes = 0;
    std::weak_ptr<const void> in_use;
  };
  Pinned* free_pinned(std::size_t bytes);
  void stage(std::span<const Piece> pieces, std::size_t bytes, std::byte* pinned);
  void copy_now(std::span<const Piece> pieces);

  Gpu& gpu_;
  std::vector<Piece> pieces_;
  std::size_t piece_bytes_ = 0;
  std::shared_ptr<std::byte> staging_;
  std::size_t staging_bytes_ = 0;
  bool has_no_room_ = false;
  bool has_no_pinned_ = false;  // beyond what it got
  GpuEvent taken_;              // the last copy out of staging_
  std::array<Pinned, 2> pinned_;
};

}  // namespace muster
