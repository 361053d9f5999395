/// GradientPool: memory for one trainer's tensors, in which the gradients that backward makes lie
/// where other ranks see them. install() replaces the process's CPU allocator once, first thing; it
/// serves each thread from the pool that the thread has entered, and from the heap where it has
/// entered none. Blocks may be freed by any thread and may outlive the pool.
///
/// Why: autograd takes a fresh gradient as it is ("steals" it) while .grad is undefined. So nothing
/// is zeroed, added or copied. Only blocks of a gradient's exact size come from the window, and
/// only between Backward's construction and its end.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

namespace muster {

class SharedMemory;

class GradientPool {
 public:
  struct State;

  static void install();

  /// `window`: this rank's part of `memory`, which the pool keeps mapped while a block of it lives.
  /// `gradient_bytes`: one entry per gradient that can be alive at once.
  GradientPool(std::shared_ptr<SharedMemory> memory, std::span<std::byte> window,
               std::span<const std::size_t> gradient_bytes);
  ~GradientPool();
  GradientPool(const GradientPool&) = delete;
  GradientPool& operator=(const GradientPool&) = delete;

  /// What a window must hold for these gradients: one block each, and two more of every size for
  /// backward's temporaries.
  static std::size_t window_bytes(std::span<const std::size_t> gradient_bytes);

  /// Where `data` lies in the window, or nothing when it lies elsewhere.
  std::optional<std::size_t> offset_of(const void* data) const noexcept;
  std::size_t private_bytes() const noexcept;  ///< what the pool has taken from the heap so far

  /// This thread allocates from the pool while it lives.
  class Entered {
   public:
    explicit Entered(GradientPool& pool) noexcept;
    ~Entered();
    Entered(const Entered&) = delete;
    Entered& operator=(const Entered&) = delete;

   private:
    State* before_;
  };
  /// Blocks of a gradient's size come from the window while it lives.
  class Backward {
   public:
    explicit Backward(GradientPool& pool) noexcept;
    ~Backward();
    Backward(const Backward&) = delete;
    Backward& operator=(const Backward&) = delete;

   private:
    State& state_;
  };

 private:
  State* state_;  // lives until the pool and the last of its blocks are gone
};

}  // namespace muster
