// SPDX-License-Identifier: Apache-2.0
#include "runtime/base/random.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <sstream>

#include "runtime/base/error.h"

namespace muster {

std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_low,
                                    std::uint64_t counter_high) {
  constexpr std::uint64_t multiplier0 = 0xD2511F53;
  constexpr std::uint64_t multiplier1 = 0xCD9E8D57;
  auto low = [](std::uint64_t word) { return static_cast<std::uint32_t>(word); };
  auto high = [](std::uint64_t word) { return static_cast<std::uint32_t>(word >> 32); };
  std::array<std::uint32_t, 4> c{low(counter_low), high(counter_low), low(counter_high),
                                 high(counter_high)};
  std::uint32_t k0 = low(key);
  std::uint32_t k1 = high(key);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = multiplier0 * c[0];
    const std::uint64_t p1 = multiplier1 * c[2];
    c = {high(p1) ^ c[1] ^ k0, low(p1), high(p0) ^ c[3] ^ k1, low(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  auto finalise = [](std::uint64_t z) {
    z += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  };
  return finalise(finalise(finalise(a) ^ b) ^ c);
}

Random::result_type Random::operator()() {
  const auto block = philox(key_, position_ / 2, stream_);
  const std::size_t half = position_ % 2 * 2;
  ++position_;
  return (std::uint64_t{block[half + 1]} << 32) | block[half];
}

double Random::uniform() {
  return static_cast<double>((*this)() >> 11) * 0x1.0p-53;
}

double Random::normal() {
  const double u = 1.0 - uniform();  // in (0, 1]: the logarithm stays finite
  const double v = uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

std::uint64_t Random::below(std::uint64_t bound) {
  require(bound > 0, "Random::below needs a bound above 0");
  const std::uint64_t unfair =
      (0 - bound) % bound;  // the words below this would favour small numbers
  std::uint64_t word = (*this)();
  while (word < unfair) {
    word = (*this)();
  }
  return word % bound;
}

std::string Random::state() const {
  return fmt::format("philox {} {} {}", key_, stream_, position_);
}

Random Random::from_state(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string name;
  Random random;
  words >> name >> random.key_ >> random.stream_ >> random.position_;
  if (!words || name != "philox") {
    throw Error(Fault::bad_input, fmt::format("'{}' is not the state of a random stream", text));
  }
  return random;
}

}  // namespace muster
