// SPDX-License-Identifier: Apache-2.0
#include "hpo/model_inputs.h"

#include <algorithm>
#include <cmath>

namespace muster::hpo {

ModelInputs::ModelInputs(const Space& space, double min_resource, double max_resource,
                         bool fixes_noise, std::uint32_t sources)
    : space_(space),
      min_resource_(std::max(min_resource, 1e-300)),
      max_resource_(max_resource),
      sources_(sources) {
  const std::size_t dimensions = space.dimensions();
  shape_ = KernelShape::of(dimensions);
  shape_.group.clear();
  shape_.fixes_noise = fixes_noise;
  bool has_switches = false;
  for (std::size_t k = 0; k < dimensions; ++k) {
    const Parameter& parameter = space[space.searched()[k]];
    const std::size_t choices = parameter.kind == Kind::choice ? parameter.words.size() : 0;
    const Part part{space.searched()[k], shape_.group.size(), choices,
                    !parameter.condition.empty()};
    numbers_.push_back(choices == 0 ? std::optional<std::size_t>(part.first) : std::nullopt);
    if (choices == 0) {
      shape_.warped.push_back(part.first);
    }
    shape_.group.insert(shape_.group.end(), std::max<std::size_t>(choices, 1), k);
    if (part.has_switch) {
      shape_.group.push_back(dimensions);
      has_switches = true;
    }
    parts_.push_back(part);
  }
  shape_.groups += has_switches ? 1 : 0;
  if (has_resource()) {
    shape_.group.push_back(shape_.groups++);
  }
  if (sources_ > 0) {
    shape_.group.insert(shape_.group.end(), sources_, shape_.groups++);
  }
  shape_.is_additive = shape_.groups > 1;
}

double ModelInputs::fidelity(double resource) const {
  if (resource <= 0.0 || resource >= max_resource_ || min_resource_ >= max_resource_) {
    return 1.0;
  }
  return std::max(0.0,
                  std::log(resource / min_resource_) / std::log(max_resource_ / min_resource_));
}

void ModelInputs::write(const Config& config, double resource, double* features,
                        std::uint32_t source) const {
  for (const Part& part : parts_) {
    const double value = config.values[part.parameter];
    const bool is_active = !std::isnan(value);
    double* const at = features + part.first;
    if (part.choices == 0) {
      *at = is_active ? space_[part.parameter].encode(value) : 0.5;
    } else {
      std::fill_n(at, part.choices, 0.0);
      if (is_active) {
        at[static_cast<std::size_t>(value)] = std::sqrt(0.5);
      }
    }
    if (part.has_switch) {
      at[std::max<std::size_t>(part.choices, 1)] = is_active ? 1.0 : 0.0;
    }
  }
  if (has_resource()) {
    features[size() - sources_ - 1] = fidelity(resource);
  }
  std::fill_n(features + size() - sources_, sources_, 0.0);
  if (source > 0) {
    features[size() - sources_ + source - 1] = 1.0;
  }
}

}  // namespace muster::hpo
