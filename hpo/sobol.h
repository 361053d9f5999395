/// Sobol: scrambled points that fill the unit cube evenly (Sobol 1967; initial numbers of Joe and
/// Kuo 2008 for 64 dimensions, drawn beyond; Matousek's linear scrambling and a digital shift).
/// Point i is a pure function of (seed, i).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace muster::hpo {

class Sobol {
 public:
  Sobol(std::size_t dimensions, std::uint64_t seed, bool scrambled = true);
  std::size_t dimensions() const { return directions_.size(); }
  /// Point `index` (below 2^32) into `point`, each number in (0, 1).
  void at(std::uint64_t index, std::span<double> point) const;
  std::vector<double> at(std::uint64_t index) const;

 private:
  std::vector<std::array<std::uint32_t, 32>> directions_;
  std::vector<std::uint32_t> shifts_;
};

/// The first `count` primitive polynomials over GF(2) by rising value, a bit a coefficient: 3, 7,
/// 11, 13, 19, ...
std::vector<std::uint32_t> primitive_polynomials(std::size_t count);

}  // namespace muster::hpo
