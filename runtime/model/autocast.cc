// SPDX-License-Identifier: Apache-2.0
#include "runtime/model/autocast.h"

#include <ATen/autocast_mode.h>

namespace muster {

bool cpu_has_bfloat16() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16") > 0;
}

AutocastScope::AutocastScope(bool on, c10::DeviceType device, at::ScalarType type)
    : on_(on), device_(device) {
  if (on_) {
    was_on_ = at::autocast::is_autocast_enabled(device_);
    type_before_ = at::autocast::get_autocast_dtype(device_);
    at::autocast::set_autocast_dtype(device_, type);
    at::autocast::set_autocast_enabled(device_, true);
  }
}

AutocastScope::~AutocastScope() {
  if (on_) {
    at::autocast::set_autocast_enabled(device_, was_on_);
    at::autocast::set_autocast_dtype(device_, type_before_);
    at::autocast::clear_cache();
  }
}

}  // namespace muster
