// Products of cuBLAS, by their sizes.
// SPDX-License-Identifier: Apache-2.0
#include "tests/gpu/pretend_card/library.h"

using muster::pretend::LibraryHandle;

namespace {

int product(const char* name, const LibraryHandle* handle, int m, int n, int k, int batch = 1) {
  const std::string what = std::string(name) + " <" + std::to_string(m) + "x" + std::to_string(n) +
                           "x" + std::to_string(k) + ", " + std::to_string(batch) + ">";
  return pretend_library_call(what.c_str(), handle->stream);
}

}  // namespace

extern "C" {

int cublasSetStream_v2(LibraryHandle* handle, cudaStream_t stream) {
  handle->stream = stream;
  return 0;
}
int cublasGetStream_v2(LibraryHandle* handle, cudaStream_t* stream) {
  *stream = handle->stream;
  return 0;
}
int cublasGetMathMode(LibraryHandle* /*handle*/, int* mode) {
  *mode = 0;
  return 0;
}
int cublasGetPointerMode_v2(LibraryHandle* /*handle*/, int* mode) {
  *mode = 0;
  return 0;
}
const char* cublasGetStatusString(int /*status*/) {
  return "an error of the pretended card";
}
int cublasSgemm_v2(LibraryHandle* handle, int /*a*/, int /*b*/, int m, int n, int k) {
  return product("cublasSgemm", handle, m, n, k);
}
int cublasGemmEx(LibraryHandle* handle, int /*a*/, int /*b*/, int m, int n, int k) {
  return product("cublasGemmEx", handle, m, n, k);
}
int cublasSgemmStridedBatched(LibraryHandle* handle, int /*a*/, int /*b*/, int m, int n, int k) {
  return product("cublasSgemmStridedBatched", handle, m, n, k, -1);
}
int cublasGemmStridedBatchedEx(LibraryHandle* handle, int /*a*/, int /*b*/, int m, int n, int k) {
  return product("cublasGemmStridedBatchedEx", handle, m, n, k, -1);
}

}  // extern "C"
