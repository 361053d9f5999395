/// The normal distribution, with care in the tails.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace muster::hpo {

double normal_density(double x);
double normal_share(double x);         ///< Phi(x)
double normal_quantile(double share);  ///< Phi^-1, to 1e-15 relative; infinite at 0 and 1

}  // namespace muster::hpo
