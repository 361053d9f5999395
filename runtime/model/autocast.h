/// AutocastScope: matrix products and convolutions of this thread run in bfloat16 while it lives.
/// Parameters stay float32. Its end drops the cache of cast weights, which raw updates by other
/// ranks would leave stale.
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace muster {

/// False where bfloat16 would be emulated: slower than float32.
bool cpu_has_bfloat16();

class AutocastScope {
 public:
  explicit AutocastScope(bool on);
  ~AutocastScope();
  AutocastScope(const AutocastScope&) = delete;
  AutocastScope& operator=(const AutocastScope&) = delete;

 private:
  bool on_;
  bool was_on_ = false;
};

}  // namespace muster
