/// Opens libmuster_cuda.so, and with it the GPU half of libtorch: only where there is a driver, and
/// before this process first uses torch. One module a process; it stays open.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "runtime/gpu/gpu.h"

namespace muster {

/// Whether NVIDIA's driver is loaded here. Opens nothing.
bool has_gpu_driver();

/// Where the module is looked for: beside the program, ../lib, ../lib64.
std::vector<std::filesystem::path> gpu_module_places();

/// Opens that file, driver or not. Null with the reason in `why`.
Gpus* open_gpu_module(const std::filesystem::path& file, std::string& why);

/// Before open_gpus() in a process of several lanes: each needs queues of its own in hardware, of
/// which there are 8 unless asked for. Not in others: clients of an MPS server share some 120, and
/// who finds none left gets no card.
void ask_for_queues();

/// Null where train.device leaves it out: "cpu", or "auto" without driver, module or card; then
/// `why` says which. "cuda" throws that sentence and the remedy instead: bad_input without driver
/// or module, io where they are there and give no card, which another machine may have.
Gpus* open_gpus(const std::string& wanted, std::string& why);

/// What the module's one function returns: extern "C" muster_gpus(version).
inline constexpr int gpu_interface_version = 5;
using OpenGpus = Gpus* (*)(int version, std::string* why);

}  // namespace muster
