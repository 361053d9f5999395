/// The mean of batch normalisation's statistics over all lanes, weighted by their samples: what the
/// running ones move towards. Summed in lane order in double, so that it does not depend on which
/// rank had which lane.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "runtime/comm/communicator.h"
#include "runtime/model/model.h"

namespace muster {

/// `lanes`: this machine's, the first of which is lane `first` of all; `samples`: of every lane of
/// all. Collective over `across`.
BatchStatistics mean_statistics(std::span<const BatchStatistics> lanes,
                                std::span<const std::uint64_t> samples, std::size_t first,
                                Communicator& across);

}  // namespace muster
