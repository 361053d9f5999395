// SPDX-License-Identifier: Apache-2.0
#include "runtime/train/statistics.h"

#include <numeric>
#include <vector>

namespace muster {

BatchStatistics mean_statistics(std::span<const BatchStatistics> lanes,
                                std::span<const std::uint64_t> samples, std::size_t first,
                                Communicator& across) {
  std::vector<double> sums(lanes.empty() ? 0 : lanes[0].values.size());
  for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
    const auto weight = static_cast<double>(samples[first + lane]);
    for (std::size_t i = 0; i < sums.size() && weight > 0; ++i) {
      sums[i] += weight * static_cast<double>(lanes[lane].values[i]);
    }
  }
  if (across.size() > 1) {
    across.all_reduce(buffer_of(sums.data(), sums.size()), ReduceOp::sum).wait();
  }
  const auto total =
      static_cast<double>(std::accumulate(samples.begin(), samples.end(), std::uint64_t{0}));
  BatchStatistics mean;
  for (const double sum : sums) {
    mean.values.push_back(static_cast<float>(sum / total));
  }
  return mean;
}

}  // namespace muster
