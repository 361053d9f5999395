/// Acquisition: what a point is worth trying for, from the model's mean and deviation there. Values
/// are minimised; larger is better here.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace muster::hpo {

/// ln h(u), h(u) = phi(u) + u Phi(u): the log of expected improvement is ln s + ln h((best - mean)
/// / s) (Ament et al. 2023). Three branches: u > -1 directly; -50 < u <= -1: -u^2/2 - ln(2 pi)/2 +
/// ln(1 - |u| m(u)) with Mills' ratio m = sqrt(pi/2) erfcx(-u/sqrt2); below, the series -u^2/2 -
/// ln(2 pi)/2 - 2 ln|u| + ln(1 - 3/u^2 + 15/u^4 - ...), because 1 - |u| m loses all its digits
/// there.
double log_improvement(double u);
/// d ln h / du = Phi(u) / h(u), in the same branches.
double log_improvement_slope(double u);
/// exp(x^2) erfc(x) for x >= 0.
double scaled_erfc(double x);

}  // namespace muster::hpo
