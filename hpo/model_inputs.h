/// ModelInputs: configurations as the numbers that a Gaussian process compares. A number is its
/// coordinate, a list with n values is n switches of height sqrt(1/2) (so that unequal values lie
/// at 1/l^2), an inactive coordinate stands at the middle, and a conditional one adds a switch
/// "active" that all of them share the length of (rho): 1/rho^2 lies between active and inactive.
/// With a resource, one more number ln r / ln R; with similar sweeps, a switch each that share a
/// length, so that the data say how much a lent row counts. All of it is a Euclidean embedding, so
/// every kernel matrix is positive definite.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "hpo/gaussian_process.h"
#include "hpo/space.h"

namespace muster::hpo {

class ModelInputs {
 public:
  ModelInputs(const Space& space, double min_resource, double max_resource, bool fixes_noise,
              std::uint32_t sources = 0);
  std::size_t size() const { return shape_.group.size(); }
  const KernelShape& shape() const { return shape_; }
  bool has_resource() const { return max_resource_ > 0.0; }
  double fidelity(double resource) const;  ///< 0 at the least, 1 at the most
  /// `resource` 0 stands for the most, `source` 0 for this sweep.
  void write(const Config& config, double resource, double* features,
             std::uint32_t source = 0) const;
  /// The feature that holds a coordinate's number; nothing for lists.
  std::optional<std::size_t> feature_of(std::size_t coordinate) const {
    return numbers_[coordinate];
  }

 private:
  struct Part {
    std::size_t parameter;
    std::size_t first;    // feature
    std::size_t choices;  // 0: a number
    bool has_switch;
  };
  const Space& space_;
  double min_resource_, max_resource_;
  std::size_t sources_;
  KernelShape shape_;
  std::vector<Part> parts_;
  std::vector<std::optional<std::size_t>> numbers_;
};

}  // namespace muster::hpo
