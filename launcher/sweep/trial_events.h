/// TrialEvents: TensorBoard files of a trial that is a program: what it was given, so that the
/// HParams page shows the sweep, and what it reports. A full disk ends them with a warning, never
/// the trial.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/base/file_system.h"

namespace muster {

class TrialEvents {
 public:
  /// A file of its own for each launch; what comes after step `from` replaces what was there.
  TrialEvents(const Path& trial, std::uint64_t from,
              const std::vector<std::pair<std::string, std::string>>& parameters);
  void write(std::uint64_t step, const std::vector<std::pair<std::string, double>>& values);

 private:
  void put(const std::string& payload);
  Path path_;
  std::unique_ptr<File> file_;
};

}  // namespace muster
