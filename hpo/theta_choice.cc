// SPDX-License-Identifier: Apache-2.0
#include "hpo/theta_choice.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/text.h"

namespace muster::hpo {
namespace {

constexpr std::size_t two_starts_until = 150;
constexpr std::size_t warp_from = 30;
constexpr std::size_t warp_decided_until = 300;  // rows; beyond, the last decision stands
constexpr double least_warp_gain = 1.0;          // nats
constexpr int cold_evaluations = 60;
constexpr int warm_evaluations = 15;

Theta plain_theta(const KernelShape& shape, const Matrix& features,
                  const std::vector<double>& values, const Theta& before) {
  std::vector<Theta> starts;
  if (!before.empty()) {
    starts.push_back(before);
    starts.back().resize(shape.plain_size());
  }
  const bool is_cold = starts.empty() || values.size() <= two_starts_until;
  if (is_cold) {
    starts.push_back(usual_start(shape));
  }
  return fit(shape, features, values, starts, is_cold ? cold_evaluations : warm_evaluations);
}

/// Bent inputs help on most surfaces of learning and harm where a function is turned, so each fit
/// asks the data: warps are kept where every value is predicted better from all the others.
Theta warped_where_better(const KernelShape& shape, const Matrix& features,
                          const std::vector<double>& values, const Theta& before,
                          const Theta& plain) {
  if (shape.warped.empty()) {
    return plain;
  }
  std::vector<Theta> starts{with_identity_warp(shape, plain)};
  if (before.size() == shape.warped_size()) {
    starts.push_back(before);
  }
  Theta warped = fit(shape, features, values, starts, cold_evaluations);
  const double gain = leave_one_out(shape, features, values, warped) -
                      leave_one_out(shape, features, values, plain);
  return gain > least_warp_gain ? warped : plain;
}

}  // namespace

Theta choose_theta(const KernelShape& shape, const Matrix& features,
                   const std::vector<double>& values, const Theta& before) {
  if (!before.empty() && values.size() > warp_decided_until) {
    return fit(shape, features, values, {before}, warm_evaluations);
  }
  Theta plain = plain_theta(shape, features, values, before);
  return values.size() >= warp_from ? warped_where_better(shape, features, values, before, plain)
                                    : plain;
}

std::string Fitted::text() const {
  std::string text = "gp 2 " + std::to_string(at);
  for (const double x : theta) {
    text += " " + exact(x);
  }
  return text;
}

std::optional<Fitted> read_fitted(std::string_view text, const KernelShape& shape) {
  const std::vector<std::string> parts = words(text);
  const std::size_t numbers = parts.size() - std::min<std::size_t>(3, parts.size());
  const bool fits = numbers == shape.plain_size() || numbers == shape.warped_size();
  const std::optional<std::int64_t> at = fits ? parse_int(parts[2]) : std::nullopt;
  if (!at || *at < 0 || parts[0] != "gp" || parts[1] != "2") {
    return std::nullopt;
  }
  Fitted fitted{.at = static_cast<std::size_t>(*at), .theta = {}};
  for (std::size_t i = 3; i < parts.size(); ++i) {
    const std::optional<double> x = parse_double(parts[i]);
    if (!x || !std::isfinite(*x)) {
      return std::nullopt;
    }
    fitted.theta.push_back(*x);
  }
  return fitted;
}

}  // namespace muster::hpo
