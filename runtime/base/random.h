/// Philox: counter-based random numbers (Salmon et al. 2011, Philox4x32-10). A number is a pure
/// function of (key, counter), so any position of any stream is reached in O(1) and a stream is a
/// value: copy it, write it to a file, resume it.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace muster {

/// The block function: 128 random bits for a 64-bit key and a 128-bit counter.
std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_low,
                                    std::uint64_t counter_high);

/// Mixes words into one well-spread key ("seed, step, place"). SplitMix64 finaliser, chained.
std::uint64_t mix(std::uint64_t a, std::uint64_t b = 0, std::uint64_t c = 0);

/// A stream of Philox numbers: satisfies UniformRandomBitGenerator with 64-bit words.
class Random {
 public:
  using result_type = std::uint64_t;
  explicit Random(std::uint64_t seed = 0, std::uint64_t stream = 0) : key_(seed), stream_(stream) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return ~result_type{0}; }
  result_type operator()();

  double uniform();  ///< in [0, 1), 53 bits
  double normal();   ///< mean 0, deviation 1; Box-Muller, two numbers a draw
  std::uint64_t below(std::uint64_t bound);  ///< in [0, bound), without bias
  void skip_to(std::uint64_t position) { position_ = position; }
  std::uint64_t position() const { return position_; }

  /// "philox 42 0 17": reads back to the same stream at the same place.
  std::string state() const;
  static Random from_state(std::string_view text);
  bool operator==(const Random&) const = default;

 private:
  std::uint64_t key_;
  std::uint64_t stream_;
  std::uint64_t position_ = 0;  // in 64-bit words
};

}  // namespace muster
