// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_mover.h"

#include <algorithm>
#include <utility>

#include "runtime/base/error.h"
#include "runtime/base/log.h"
#include "runtime/base/stream_copy.h"

namespace muster {

void GpuMover::out(std::span<std::byte> host, const TensorSlice& /*slice*/,
                   std::span<const std::byte> from) {
  pieces_.push_back({host, from, piece_bytes_});
  piece_bytes_ += (from.size() + 63) / 64 * 64;
}

void GpuMover::in(const TensorSlice& /*slice*/, std::span<std::byte> to,
                  std::span<const std::byte> host) {
  gpu_.copy(to.data(), host.data(), to.size(), Gpu::Queue::compute);
}

void GpuMover::finish() {
  finish_later()();
  gpu_.synchronise();
}

/// Both are in use only when two checkpoints wait for the disk, and then the engine skips. Null
/// where the host has no such memory left: a checkpoint can do without.
GpuMover::Pinned* GpuMover::free_pinned(std::size_t bytes) {
  const auto is_free = [](const Pinned& pinned) { return pinned.in_use.expired(); };
  const auto fits = [&](const Pinned& pinned) { return is_free(pinned) && pinned.bytes >= bytes; };
  if (const auto found = std::ranges::find_if(pinned_, fits); found != pinned_.end()) {
    return found;
  }
  const auto free = std::ranges::find_if(pinned_, is_free);
  require(free != pinned_.end(), "a checkpoint's memory that nobody reads any more");
  if (has_no_pinned_) {
    return nullptr;
  }
  try {
    *free = {};  // the old memory first
    *free = {.memory = gpu_.allocate_pinned(bytes), .bytes = bytes, .in_use = {}};
    return free;
  } catch (const Error& error) {
    has_no_pinned_ = true;
    log::warning(
        "training waits for the copies of its checkpoints: the host has no pinned memory "
        "for them: " +
        std::string(error.what()));
    return nullptr;
  }
}

void GpuMover::copy_now(std::span<const Piece> pieces) {
  for (const Piece& piece : pieces) {
    gpu_.copy(piece.host.data(), piece.from.data(), piece.from.size(), Gpu::Queue::compute);
  }
  gpu_.synchronise();
}

void GpuMover::stage(std::span<const Piece> pieces, std::size_t bytes, std::byte* pinned) {
  if (staging_bytes_ < bytes && !has_no_room_) {
    try {
      staging_ = gpu_.allocate(bytes);
      staging_bytes_ = bytes;
    } catch (const Error& error) {
      has_no_room_ = true;
      log::info("checkpoints make the GPU wait for their copy: " + std::string(error.what()));
    }
  }
  if (has_no_room_) {
    gpu_.wait(Gpu::Queue::copy, gpu_.record(Gpu::Queue::compute));
    for (const Piece& piece : pieces) {
      gpu_.copy(pinned + piece.at, piece.from.data(), piece.from.size(), Gpu::Queue::copy);
    }
    taken_ = gpu_.record(Gpu::Queue::copy);
    gpu_.wait(Gpu::Queue::compute, taken_);
    return;
  }
  if (taken_) {
    gpu_.wait(Gpu::Queue::compute, taken_);
  }
  for (const Piece& piece : pieces) {
    gpu_.copy(staging_.get() + piece.at, piece.from.data(), piece.from.size(), Gpu::Queue::compute);
  }
  gpu_.wait(Gpu::Queue::copy, gpu_.record(Gpu::Queue::compute));
  gpu_.copy(pinned, staging_.get(), bytes, Gpu::Queue::copy);
  taken_ = gpu_.record(Gpu::Queue::copy);
}

std::function<void()> GpuMover::finish_later() {
  std::vector<Piece> pieces = std::exchange(pieces_, {});
  const std::size_t bytes = std::exchange(piece_bytes_, 0);
  if (pieces.empty()) {
    return [] {};
  }
  Pinned* pinned = free_pinned(bytes);
  if (pinned == nullptr) {
    copy_now(pieces);
    return [] {};
  }
  stage(pieces, bytes, pinned->memory.get());
  auto lease = std::make_shared<const int>(0);
  pinned->in_use = lease;
  return [pieces = std::move(pieces), memory = pinned->memory, copied = taken_, lease] {
    copied->wait();
    for (const Piece& piece : pieces) {
      stream_copy(piece.host,
                  std::span<const std::byte>(memory.get() + piece.at, piece.from.size()));
    }
  };
}

}  // namespace muster
