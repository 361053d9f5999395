/// KernelShape: which numbers a kernel has, and Theta: their logarithms. A length a group of
/// features, a signal and a noise; where the kernel is additive too, a length a group and a
/// variance for its parts; two numbers a warp.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

namespace muster::hpo {

/// ln of the lengths, of the signal's variance and of the noise's; of the additive lengths and the
/// additive variance, where there are any; then, where inputs are warped, ln a and ln b of each of
/// KernelShape::warped.
using Theta = std::vector<double>;

struct KernelShape {
  std::vector<std::size_t> group;  ///< of each feature
  std::size_t groups = 0;
  std::vector<std::size_t>
      warped;                ///< features that a longer theta warps; all others stay as they are
  double length_mean = 0.0;  ///< of ln l under the prior
  bool fixes_noise = false;  ///< n = 1e-6: equal points have equal values
  bool is_additive = false;  ///< one kernel a feature beside the one over all of them: additive.h

  std::size_t signal() const { return groups; }  ///< places in theta
  std::size_t noise() const { return groups + 1; }
  std::size_t additive_length(std::size_t of_group) const { return groups + 2 + of_group; }
  std::size_t additive_signal() const { return 2 * groups + 2; }
  /// Of a theta without warps.
  std::size_t plain_size() const { return groups + 2 + (is_additive ? groups + 1 : 0); }
  std::size_t warped_size() const { return plain_size() + 2 * warped.size(); }

  static KernelShape of(std::size_t dimensions);  ///< a feature a group
  static constexpr double no_signal = -700.0;     ///< ln of the additive variance where it is off
  /// More values than these are explained without additive parts.
  static constexpr std::size_t additive_until = 400;
};

Theta with_identity_warp(const KernelShape& shape,
                         Theta theta);        ///< its plain part, and warps that do nothing
Theta usual_start(const KernelShape& shape);  ///< l = 0.3, s = 1, n = e^-5

/// What is thought of a number of theta before there are values: ln x ~ N(mean, deviation), cut.
struct Prior {
  double mean, deviation, low, high;
  static Prior of(const KernelShape& shape, std::size_t place);
};

constexpr double fixed_noise = 1e-6;

}  // namespace muster::hpo
