// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/gpu_mover.h"

#include <cstring>

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

/// Both are in use only when two checkpoints wait for the disk, and then the engine skips.
GpuMover::Pinned& GpuMover::free_pinned(std::size_t bytes) {
  Pinned& pinned = pinned_.at(next_++ % pinned_.size());
  require(pinned.in_use.expired(), "a checkpoint's memory that nobody reads any more");
  if (pinned.bytes < bytes) {
    pinned.memory = gpu_.allocate_pinned(bytes);
    pinned.bytes = bytes;
  }
  return pinned;
}

void GpuMover::stage(std::size_t bytes, std::byte* pinned) {
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
    for (const Piece& piece : pieces_) {
      gpu_.copy(pinned + piece.at, piece.from.data(), piece.from.size(), Gpu::Queue::copy);
    }
    taken_ = gpu_.record(Gpu::Queue::copy);
    gpu_.wait(Gpu::Queue::compute, taken_);
    return;
  }
  if (taken_) {
    gpu_.wait(Gpu::Queue::compute, taken_);
  }
  for (const Piece& piece : pieces_) {
    gpu_.copy(staging_.get() + piece.at, piece.from.data(), piece.from.size(), Gpu::Queue::compute);
  }
  gpu_.wait(Gpu::Queue::copy, gpu_.record(Gpu::Queue::compute));
  gpu_.copy(pinned, staging_.get(), bytes, Gpu::Queue::copy);
  taken_ = gpu_.record(Gpu::Queue::copy);
}

std::function<void()> GpuMover::finish_later() {
  if (pieces_.empty()) {
    return [] {};
  }
  Pinned& pinned = free_pinned(piece_bytes_);
  stage(piece_bytes_, pinned.memory.get());
  auto lease = std::make_shared<const int>(0);
  pinned.in_use = lease;
  auto finish = [pieces = std::move(pieces_), memory = pinned.memory, copied = taken_, lease] {
    copied->wait();
    for (const Piece& piece : pieces) {
      stream_copy(piece.host,
                  std::span<const std::byte>(memory.get() + piece.at, piece.from.size()));
    }
  };
  pieces_.clear();
  piece_bytes_ = 0;
  return finish;
}

}  // namespace muster
