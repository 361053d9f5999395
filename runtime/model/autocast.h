/// AutocastScope: matrix products and convolutions of this thread run in bfloat16 while it lives.
/// Parameters stay float32. Its end drops the cache of cast weights, which raw updates by other
/// ranks would leave stale.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

namespace muster {

/// False where bfloat16 would be emulated: slower than float32.
bool cpu_has_bfloat16();

class AutocastScope {
 public:
  explicit AutocastScope(bool on)
      : AutocastScope(on, c10::DeviceType::CPU, c10::ScalarType::BFloat16) {}
  AutocastScope(bool on, c10::DeviceType device, c10::ScalarType type);
  ~AutocastScope();
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;

 private:
  bool on_;
  c10::DeviceType device_;
  bool was_on_ = false;
  c10::ScalarType type_before_ = c10::ScalarType::Undefined;
};

}  // namespace muster
