/// Output warp: what a model is fitted to instead of raw values, so that good values are told apart
/// and bad ones do not dominate.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

namespace muster::hpo {

/// For values to be minimised, in this order:
/// 1. half-rank: with m the median, every y > m becomes m + s * q, q the normal quantile of its
/// rank among the bad (ties share one) and
///    s^2 = mean (y - m)^2 over distinct y <= m: y' = m - s Phi^-1(0.5 (rank - 0.5) / (bad + 0.5)),
///    rank 1 = the worst;
/// 2. log: t = (y - min) / (max - min), y' = ln(1 + 0.5 t) / ln 1.5 - 0.5, which stretches
/// differences among the good;
/// 3. failures become max + 0.5 range + 1, then the mean weighted by p = (ok + 0.5) / (n + 1) is
/// taken off;
/// 4. z-score. Values of failed entries are ignored.
std::vector<double> warp_outputs(std::span<const double> values, const std::vector<bool>& failed);

}  // namespace muster::hpo
