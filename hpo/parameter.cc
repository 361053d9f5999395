// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "hpo/normal.h"
#include "hpo/space.h"
#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

/// A value that people would write: 0.3, not 0.30000000000000004.
double tidy(double value, double grain) {
  double magnitude = std::pow(10.0, std::floor(std::log10(std::abs(value))));
  if (value == 0.0 || !std::isfinite(magnitude) || magnitude == 0.0) {
    return value;
  }
  const double digits = std::round(value / magnitude * 1e11);
  const std::optional<double> read =
      parse_double(exact(digits) + "e" + exact(std::log10(magnitude) - 11));
  return read && std::abs(*read - value) <= 1e-9 * grain ? *read : value;
}

}  // namespace

double Parameter::on_scale(double value) const {
  switch (scale) {
    case Scale::linear:
      return value;
    case Scale::log:
      return std::log(value);
    case Scale::revlog:
      return -std::log1p(-value);
    case Scale::logit:
      return std::log(value / (1.0 - value));
  }
  return value;
}

double Parameter::off_scale(double scaled) const {
  switch (scale) {
    case Scale::linear:
      return scaled;
    case Scale::log:
      return std::exp(scaled);
    case Scale::revlog:
      return -std::expm1(-scaled);
    case Scale::logit:
      return 1.0 / (1.0 + std::exp(-scaled));
  }
  return scaled;
}

void Parameter::set_edges() {
  low_edge = on_scale(low);
  high_edge = on_scale(high);
  if (!levels.empty()) {
    const double half = 0.5 * (high_edge - low_edge) / static_cast<double>(points - 1);
    low_edge -= half;
    high_edge += half;
  } else if ((is_int || step > 0.0) && low < high) {
    // Cells reach half a step beyond the outer values, as far as the scale goes.
    const double half = 0.5 * (step > 0.0 ? step : 1.0);
    const double least =
        scale == Scale::log || scale == Scale::logit ? std::max(low - half, 0.5 * low) : low - half;
    const double last = value_at(*count() - 1);
    const double most = scale == Scale::revlog || scale == Scale::logit
                            ? std::min(last + half, 0.5 * (1.0 + last))
                            : last + half;
    low_edge = on_scale(least);
    high_edge = on_scale(most);
  }
}

void Parameter::set_levels(std::size_t wanted) {
  points = wanted;
  const double from = on_scale(low);
  const double width = on_scale(high) - from;
  for (std::size_t i = 0; i < points; ++i) {
    const double share = static_cast<double>(i) / static_cast<double>(points - 1);
    double value = std::clamp(off_scale(from + share * width), low, high);
    value = std::clamp(is_int ? std::round(value) : tidy(value, std::abs(value)), low, high);
    value = i == 0 ? low : i + 1 == points ? high : value;
    if (levels.empty() || value > levels.back()) {
      levels.push_back(value);
    }
  }
}

std::optional<std::uint64_t> Parameter::count() const {
  if (kind != Kind::number) {
    return words.size();
  }
  if (low == high) {
    return 1;
  }
  if (!levels.empty()) {
    return levels.size();
  }
  if (is_int || step > 0.0) {
    return static_cast<std::uint64_t>(std::floor((high - low) / (step > 0.0 ? step : 1.0) + 1e-9)) +
           1;
  }
  return std::nullopt;
}

double Parameter::value_at(std::uint64_t index) const {
  if (kind != Kind::number) {
    return static_cast<double>(index);
  }
  if (!levels.empty()) {
    return levels[index];
  }
  const double value = low + static_cast<double>(index) * (step > 0.0 ? step : 1.0);
  return is_int || index == 0 ? value : tidy(value, step);
}

double Parameter::encode(double value) const {
  if (kind != Kind::number) {
    return (value + 0.5) / static_cast<double>(words.size());
  }
  if (low == high) {
    return 0.5;
  }
  const double inside = std::clamp(value, low, high);
  return std::clamp((on_scale(inside) - low_edge) / (high_edge - low_edge), 0.0, 1.0);
}

double Parameter::decode(double coordinate) const {
  const double u = std::clamp(coordinate, 0.0, 1.0);
  if (kind != Kind::number) {
    const auto n = static_cast<double>(words.size());
    return std::min(std::floor(u * n), n - 1.0);
  }
  if (low == high) {
    return low;
  }
  const double scaled = low_edge + u * (high_edge - low_edge);
  if (!levels.empty()) {
    const auto above = std::ranges::lower_bound(levels, std::clamp(off_scale(scaled), low, high));
    if (above == levels.begin() || above == levels.end()) {
      return above == levels.begin() ? levels.front() : levels.back();
    }
    return scaled - on_scale(*(above - 1)) < on_scale(*above) - scaled ? *(above - 1) : *above;
  }
  const double value = std::clamp(off_scale(scaled), low, high);
  if (!is_int && step == 0.0) {
    return u == 0.0   ? low
           : u == 1.0 ? high
                      : value + 0.0;  // the ends exactly, whatever exp(ln low) gives
  }
  const double index = std::round((value - low) / (step > 0.0 ? step : 1.0));
  return value_at(
      static_cast<std::uint64_t>(std::clamp(index, 0.0, static_cast<double>(*count() - 1))));
}

double Parameter::shaped(double uniform) const {
  if (prior.empty()) {
    return uniform;
  }
  if (kind == Kind::number) {
    const double below = normal_share((0.0 - prior[0]) / prior[1]);
    const double above = normal_share((1.0 - prior[0]) / prior[1]);
    return std::clamp(prior[0] + prior[1] * normal_quantile(below + uniform * (above - below)), 0.0,
                      1.0);
  }
  std::size_t index = 0;
  double left = uniform;
  while (index + 1 < prior.size() && left >= prior[index]) {
    left -= prior[index++];
  }
  while (prior[index] == 0.0) {
    --index;  // rounding must not draw what has no weight
  }
  return encode(static_cast<double>(index));
}

double Parameter::log_density(double coordinate) const {
  if (prior.empty()) {
    return 0.0;
  }
  if (kind != Kind::number) {
    const double weight = prior[static_cast<std::size_t>(decode(coordinate))];
    return std::log(std::max(weight, 1e-12) * static_cast<double>(words.size()));
  }
  const double below = normal_share((0.0 - prior[0]) / prior[1]);
  const double above = normal_share((1.0 - prior[0]) / prior[1]);
  const double z = (coordinate - prior[0]) / prior[1];
  return -0.5 * z * z - std::log(prior[1] * (above - below) * 2.5066282746310002);
}

}  // namespace muster::hpo
