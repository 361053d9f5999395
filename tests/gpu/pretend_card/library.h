/// What the stubs of NVIDIA's libraries share: handles that know their queue, and calls that are
/// noted on it as a kernel is.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <string>

namespace muster::pretend {

struct LibraryHandle {
  cudaStream_t stream = nullptr;
};

/// Any object that a library hands out.
inline void* make_handle() {
  return new LibraryHandle;  // NOLINT(cppcoreguidelines-owning-memory): never given back
}

}  // namespace muster::pretend

extern "C" {
/// Queues what computes nothing, under its name; 0, or the error.
int pretend_library_call(const char* what, cudaStream_t stream);
/// The same on the queue of a handle.
int pretend_handle_call(const char* what, const void* handle);
/// Writes a new handle.
int pretend_library_create(void** out);
int pretend_library_unknown(const char* what);
}
