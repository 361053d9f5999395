/// Layers: reads every #include of a tree and tells those that the table of layers does not allow.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "runtime/base/file_system.h"

namespace muster {

/// One row: files below `folder` may include files of `includes` (and of their own folder), and the
/// libraries of `libraries`. The longest folder that matches a file is its row.
struct Layer {
  std::string folder;
  std::vector<std::string> includes;
  std::vector<std::string> libraries;  ///< "torch", "mpi", "hdf5", "boost", "eigen", "nccl", "cuda"
};

/// The table of the architecture.
const std::vector<Layer>& layers();
/// "launcher/a.cc:3: launcher/cli may not name libtorch (<torch/torch.h>)", in order of files.
std::vector<std::string> layer_violations(const Path& root, const std::vector<Layer>& table);
/// How many files there are to read: a check of none is none.
std::size_t layered_files(const Path& root);

}  // namespace muster
