// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/autocast.h"

#include <ATen/autocast_mode.h>

namespace muster {

bool cpu_has_bfloat16() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") > 0;
}

AutocastScope::AutocastScope(bool on) : on_(on) {
  if (on_) {
    was_on_ = at::autocast::is_autocast_enabled(at::kCPU);
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, true);
  }
}

AutocastScope::~AutocastScope() {
  if (on_) {
    at::autocast::set_autocast_enabled(at::kCPU, was_on_);
    at::autocast::clear_cache();
  }
}

}  // namespace muster
