// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/pretend_card/library.h"

#include "tests/gpu/pretend_card/card.h"

using muster::pretend::card;
using muster::pretend::LibraryHandle;

extern "C" {

int pretend_library_call(const char* what, cudaStream_t stream) {
  return static_cast<int>(card().add(stream, what, {}));
}
int pretend_handle_call(const char* what, const void* handle) {
  return pretend_library_call(
      what, handle == nullptr ? nullptr : static_cast<const LibraryHandle*>(handle)->stream);
}
int pretend_library_create(void** out) {
  *out = muster::pretend::make_handle();
  return 0;
}
int pretend_library_unknown(const char* what) {
  return static_cast<int>(
      card().fault(cudaErrorNotSupported, std::string(what) + " is not pretended"));
}

}  // extern "C"
