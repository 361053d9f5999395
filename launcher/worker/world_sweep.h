/// `mpirun -np N muster-rank --tune sweep.ini`: a sweep as one MPI world. Rank 0 coordinates, the
/// others are workers. All MPI calls come from each rank's main thread.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace muster {

/// `arguments` without the `--tune`. `wants_out`: a signal asked this process to leave.
int tune_world(const std::vector<std::string>& arguments, const std::function<bool()>& wants_out);

}  // namespace muster
