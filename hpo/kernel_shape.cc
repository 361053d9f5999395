// SPDX-License-Identifier: Apache-2.0
#include "hpo/kernel_shape.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "hpo/input_warp.h"

namespace muster::hpo {
namespace {

constexpr double usual_length_mean = -0.7;  // of ln l in one dimension

}  // namespace

KernelShape KernelShape::of(std::size_t dimensions) {
  KernelShape shape;
  shape.group.resize(dimensions);
  std::iota(shape.group.begin(), shape.group.end(), std::size_t{0});
  shape.groups = dimensions;
  shape.length_mean =
      0.5 * std::log(static_cast<double>(std::max<std::size_t>(dimensions, 1))) + usual_length_mean;
  return shape;
}

Theta usual_start(const KernelShape& shape) {
  Theta theta(shape.plain_size(), std::log(0.3));
  theta[shape.signal()] = 0.0;
  theta[shape.noise()] = shape.fixes_noise ? std::log(fixed_noise) : -5.0;
  if (shape.is_additive) {
    theta[shape.additive_signal()] = 0.0;
  }
  return theta;
}

Theta with_identity_warp(const KernelShape& shape, Theta theta) {
  theta.resize(shape.plain_size());
  theta.resize(shape.warped_size(), 0.0);
  return theta;
}

Prior Prior::of(const KernelShape& shape, std::size_t place) {
  const double low = std::log(0.01);
  const double high = std::log(100.0);
  if (place < shape.groups) {
    return {shape.length_mean, 1.0, low, high};
  }
  if (place == shape.signal()) {
    return {0.0, 1.0, low, high};
  }
  if (place == shape.noise()) {
    return {-7.0, 2.0, std::log(1e-6), 0.0};
  }
  if (place >= shape.plain_size()) {
    return {0.0, InputWarp::deviation, -InputWarp::most, InputWarp::most};
  }
  return place == shape.additive_signal() ? Prior{0.0, 1.0, low, high}
                                          : Prior{usual_length_mean, 1.0, low, high};
}

}  // namespace muster::hpo
