// SPDX-License-Identifier: Apache-2.0
#include "hpo/sobol.h"

#include <algorithm>
#include <bit>

#include "runtime/base/random.h"

namespace muster::hpo {
namespace {

/// Joe and Kuo's initial numbers for dimensions 2 to 64, as many a row as the degree of the row's
/// polynomial.
// clang-format off
constexpr std::uint16_t joe_kuo[] = {
    1,
    1, 3,
    1, 3, 1,
    1, 1, 1,
    1, 1, 3, 3,
    1, 3, 5, 13,
    1, 1, 5, 5, 17,
    1, 1, 5, 5, 5,
    1, 1, 7, 11, 19,
    1, 1, 5, 1, 1,
    1, 1, 1, 3, 11,
    1, 3, 5, 5, 31,
    1, 3, 3, 9, 7, 49,
    1, 1, 1, 15, 21, 21,
    1, 3, 1, 13, 27, 49,
    1, 1, 1, 15, 7, 5,
    1, 3, 1, 15, 13, 25,
    1, 1, 5, 5, 19, 61,
    1, 3, 7, 11, 23, 15, 103,
    1, 3, 7, 13, 13, 15, 69,
    1, 1, 3, 13, 7, 35, 63,
    1, 3, 5, 9, 1, 25, 53,
    1, 3, 1, 13, 9, 35, 107,
    1, 3, 1, 5, 27, 61, 31,
    1, 1, 5, 11, 19, 41, 61,
    1, 3, 5, 3, 3, 13, 69,
    1, 1, 7, 13, 1, 19, 1,
    1, 3, 7, 5, 13, 19, 59,
    1, 1, 3, 9, 25, 29, 41,
    1, 3, 5, 13, 23, 1, 55,
    1, 3, 7, 3, 13, 59, 17,
    1, 3, 1, 3, 5, 53, 69,
    1, 1, 5, 5, 23, 33, 13,
    1, 1, 7, 7, 1, 61, 123,
    1, 1, 7, 9, 13, 61, 49,
    1, 3, 3, 5, 3, 55, 33,
    1, 3, 1, 15, 31, 13, 49, 245,
    1, 3, 5, 15, 31, 59, 63, 97,
    1, 3, 1, 11, 11, 11, 77, 249,
    1, 3, 1, 11, 27, 43, 71, 9,
    1, 1, 7, 15, 21, 11, 81, 45,
    1, 3, 7, 3, 25, 31, 65, 79,
    1, 3, 1, 1, 19, 11, 3, 205,
    1, 1, 5, 9, 19, 21, 29, 157,
    1, 3, 7, 11, 1, 33, 89, 185,
    1, 3, 3, 3, 15, 9, 79, 71,
    1, 3, 7, 11, 15, 39, 119, 27,
    1, 1, 3, 1, 11, 31, 97, 225,
    1, 1, 1, 3, 23, 43, 57, 177,
    1, 3, 7, 7, 17, 17, 37, 71,
    1, 3, 1, 5, 27, 63, 123, 213,
    1, 1, 3, 5, 11, 43, 53, 133,
    1, 3, 5, 5, 29, 17, 47, 173, 479,
    1, 3, 3, 11, 3, 1, 109, 9, 69,
    1, 1, 1, 5, 17, 39, 23, 5, 343,
    1, 3, 1, 5, 25, 15, 31, 103, 499,
    1, 1, 1, 11, 11, 17, 63, 105, 183,
    1, 1, 5, 11, 9, 29, 97, 231, 363,
    1, 1, 5, 15, 19, 45, 41, 7, 383,
    1, 3, 7, 7, 31, 19, 83, 137, 221,
    1, 1, 1, 3, 23, 15, 111, 223, 83,
    1, 1, 5, 13, 31, 15, 55, 25, 161,
    1, 1, 3, 13, 25, 47, 39, 87, 257};
// clang-format on
constexpr std::size_t tabled = 63;

using Directions = std::array<std::uint32_t, 32>;

/// x^power modulo `polynomial`, over GF(2).
std::uint32_t power_of_x(std::uint64_t power, std::uint32_t polynomial) {
  const int degree = std::bit_width(polynomial) - 1;
  const auto times = [&](std::uint64_t a, std::uint64_t b) {
    std::uint64_t product = 0;
    for (int bit = degree - 1; bit >= 0; --bit) {
      product <<= 1;
      product ^= (product >> degree & 1) != 0 ? polynomial : 0;
      product ^= (b >> bit & 1) != 0 ? a : 0;
    }
    return product;
  };
  std::uint64_t result = 1;
  std::uint64_t base = degree == 1 ? 1 : 2;  // x itself is 1 modulo x + 1
  for (; power > 0; power >>= 1) {
    result = (power & 1) != 0 ? times(result, base) : result;
    base = times(base, base);
  }
  return static_cast<std::uint32_t>(result);
}

/// Primitive: x has the full order 2^degree - 1.
bool is_primitive(std::uint32_t polynomial) {
  const std::uint64_t order = (std::uint64_t{1} << (std::bit_width(polynomial) - 1)) - 1;
  if ((polynomial & 1) == 0 || power_of_x(order, polynomial) != 1) {
    return false;
  }
  std::uint64_t left = order;
  for (std::uint64_t prime = 2; prime <= left; ++prime) {
    if (left % prime == 0) {
      if (order != prime && power_of_x(order / prime, polynomial) == 1) {
        return false;
      }
      while (left % prime == 0) {
        left /= prime;
      }
    }
  }
  return true;
}

Directions first_dimension() {
  Directions directions{};
  for (std::uint32_t i = 0; i < 32; ++i) {
    directions[i] = std::uint32_t{1} << (31 - i);
  }
  return directions;
}

Directions later_dimension(std::uint32_t polynomial, std::span<const std::uint32_t> initial) {
  const std::size_t degree = initial.size();
  Directions directions{};
  for (std::size_t i = 0; i < 32; ++i) {
    if (i < degree) {
      directions[i] = initial[i] << (31 - i);
      continue;
    }
    directions[i] = directions[i - degree] ^ (directions[i - degree] >> degree);
    for (std::size_t k = 1; k < degree; ++k) {
      if ((polynomial >> (degree - k) & 1) != 0) {
        directions[i] ^= directions[i - k];
      }
    }
  }
  return directions;
}

std::vector<Directions> plain_directions(std::size_t dimensions) {
  std::vector<Directions> all{first_dimension()};
  const std::vector<std::uint32_t> polynomials = primitive_polynomials(dimensions);
  const std::uint16_t* next = joe_kuo;
  Random random(0x50b01, 0);  // beyond the table: any odd numbers give a Sobol sequence
  for (std::size_t k = 0; all.size() < dimensions; ++k) {
    std::vector<std::uint32_t> initial(static_cast<std::size_t>(std::bit_width(polynomials[k])) -
                                       1);
    for (std::size_t i = 0; i < initial.size(); ++i) {
      initial[i] = k < tabled
                       ? *next++
                       : 2 * static_cast<std::uint32_t>(random.below(std::uint64_t{1} << i)) + 1;
    }
    all.push_back(later_dimension(polynomials[k], initial));
  }
  return all;
}

/// Multiplies by a random lower triangular matrix with ones on its diagonal: digit i gets random
/// higher digits added.
void scramble(Directions& directions, Random& random) {
  std::array<std::uint32_t, 32> rows{};
  for (std::uint32_t i = 0; i < 32; ++i) {
    const std::uint32_t above = i == 0 ? 0 : ~std::uint32_t{0} << (32 - i);
    rows[i] = (static_cast<std::uint32_t>(random()) & above) | (std::uint32_t{1} << (31 - i));
  }
  for (std::uint32_t& direction : directions) {
    std::uint32_t mixed = 0;
    for (std::uint32_t i = 0; i < 32; ++i) {
      mixed |= static_cast<std::uint32_t>(std::popcount(rows[i] & direction) & 1) << (31 - i);
    }
    direction = mixed;
  }
}

}  // namespace

std::vector<std::uint32_t> primitive_polynomials(std::size_t count) {
  std::vector<std::uint32_t> found;
  for (std::uint32_t candidate = 3; found.size() < count; candidate += 2) {
    if (is_primitive(candidate)) {
      found.push_back(candidate);
    }
  }
  return found;
}

Sobol::Sobol(std::size_t dimensions, std::uint64_t seed, bool scrambled) : shifts_(dimensions, 0) {
  if (dimensions == 0) {
    return;
  }
  directions_ = plain_directions(dimensions);
  for (std::size_t k = 0; k < dimensions && scrambled; ++k) {
    Random random(mix(seed, 0x50b0), k);
    scramble(directions_[k], random);
    shifts_[k] = static_cast<std::uint32_t>(random());
  }
}

void Sobol::at(std::uint64_t index, std::span<double> point) const {
  const auto gray = static_cast<std::uint32_t>(index ^ (index >> 1));
  for (std::size_t k = 0; k < directions_.size(); ++k) {
    std::uint32_t bits = shifts_[k];
    for (std::uint32_t left = gray; left != 0; left &= left - 1) {
      bits ^= directions_[k][static_cast<std::size_t>(std::countr_zero(left))];
    }
    point[k] = (static_cast<double>(bits) + 0.5) * 0x1p-32;
  }
}

std::vector<double> Sobol::at(std::uint64_t index) const {
  std::vector<double> point(dimensions());
  at(index, point);
  return point;
}

}  // namespace muster::hpo
