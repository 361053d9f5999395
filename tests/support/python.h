/// A Python that can import what a test needs: that of `./bootstrap peers`, else the system's.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace muster::test {

/// `modules` as after `import`: "numpy, h5py". Nothing where no Python has them all.
inline std::optional<std::string> python_with(const std::string& modules) {
  const char* home = std::getenv("HOME");
  const std::string peers =
      std::string(home == nullptr ? "" : home) + "/.cache/muster/peers/bin/python";
  for (const std::string& python :
       {peers, std::string("/usr/bin/python3"), std::string("python3")}) {
    if (std::system((python + " -c 'import " + modules + "' > /dev/null 2>&1").c_str()) == 0) {
      return python;
    }
  }
  return std::nullopt;
}

}  // namespace muster::test
