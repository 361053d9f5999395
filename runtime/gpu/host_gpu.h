/// The stand-in for a GPU: memory and kernels are the host's. Compute runs at once, as torch's CPU
/// work does; copies wait, and run only when an event or the host asks for them, as late as that is
/// allowed. So a missing event shows as a wrong result. Graphs play their body again.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/gpu/gpu.h"

namespace muster {

struct HostGpuOptions {
  std::string no_graphs;  ///< why capture() says no; empty: it does not
  std::uint64_t memory = std::uint64_t{8} << 30;
  std::uint64_t pinned = std::uint64_t{8} << 30;  ///< of the host's memory, in all
  std::vector<std::string>* trace = nullptr;      ///< "copy 64", "wait copy", "pack", "replay" ...
};

std::unique_ptr<Gpu> host_gpu(const HostGpuOptions& options = {});

}  // namespace muster
