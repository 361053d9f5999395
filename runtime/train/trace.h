/// Trace: what a thread did, step by step, as a Chrome trace (chrome://tracing, Perfetto): the
/// phases of a step and torch's operators inside them. Records while one lives; operators of the
/// thread that made it only.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/base/file_system.h"

namespace muster {

class Trace {
 public:
  explicit Trace(int rank);
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  void phase(std::string_view name, std::int64_t start_ns, std::int64_t end_ns, std::uint64_t step);
  /// {"traceEvents": [...]}.
  std::string text() const;

  struct State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace muster
