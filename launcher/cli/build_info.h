/// BuildInfo: what this Muster was built with. CMake writes the source from
/// configs/cmake/build_info.cc.in.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

namespace muster {

struct BuildPart {
  const char* name;     ///< "libtorch"
  const char* version;  ///< "2.11.0", or "none: ..." and what is missing without it
};

std::string build_version();  ///< "0.1.0 (1a2b3c4)"
std::span<const BuildPart> build_parts();
/// The folder of libtorch's libraries that the rank program was linked against; "" without it.
std::string build_torch_libraries();

}  // namespace muster
