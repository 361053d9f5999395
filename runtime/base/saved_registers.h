/// Where a signal interrupted its thread, as the kernel will restore it: what a handler may change.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ucontext.h>

namespace muster {

struct SavedRegisters {
  long long* counter = nullptr;  ///< null on processors of which we do not know
  long long* stack = nullptr;    ///< which holds the caller's place when a call has just been made
};

/// `context`: a handler's third argument.
inline SavedRegisters saved_registers([[maybe_unused]] void* context) noexcept {
#if defined(__x86_64__)
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  return {&registers[REG_RIP], &registers[REG_RSP]};
#else
  return {};
#endif
}

}  // namespace muster
