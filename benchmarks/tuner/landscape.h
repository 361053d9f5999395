/// Terrain: what the synthetic functions are made of, fixed points and rotations drawn from
/// constants in the source, and the families that only development looks at.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "benchmarks/tuner/problems.h"

namespace muster::benchmarks {

using Point = std::span<const double>;
using Rows = std::vector<std::vector<double>>;

/// A problem of `dimensions` numbers x0, x1, .. in [low, high].
Problem problem(const std::string& name, std::size_t dimensions, double low, double high,
                std::function<double(Point)> value);
/// A point within the middle `share` of [low, high]^d.
std::vector<double> fixed_point(std::uint64_t key, std::size_t dimensions, double low, double high,
                                double share = 0.8);
/// Rows of a random orthogonal matrix (Gram-Schmidt on normal draws).
Rows rotation(std::uint64_t key, std::size_t dimensions);
/// The rows times (x - centre).
std::vector<double> turned(const Rows& rows, Point x, const std::vector<double>& centre);

}  // namespace muster::benchmarks
