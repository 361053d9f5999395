/// script_export: makes TorchScript of a run's settings and weights: what `muster checkpoint export
/// --to torchscript` has muster-rank do, since `muster` itself knows no libtorch.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace muster {

/// `words`: the run's config.ini, its weights as safetensors, the file to write, which appears
/// whole or not at all, what its samples are (sample_text), and how they were scaled and shifted.
/// Throws bad_input when the model cannot be said in TorchScript.
int script_export(const std::vector<std::string>& words);

}  // namespace muster
