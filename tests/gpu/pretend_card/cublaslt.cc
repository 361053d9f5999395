// Products of cuBLASLt: one algorithm is offered for each.
// SPDX-License-Identifier: Apache-2.0
#include <cublasLt.h>

#include "tests/gpu/pretend_card/library.h"

namespace {

struct Layout {
  std::uint64_t rows = 0;
  std::uint64_t columns = 0;
};

std::string text(cublasLtMatrixLayout_t layout) {
  const auto* own = reinterpret_cast<const Layout*>(layout);
  return std::to_string(own->rows) + "x" + std::to_string(own->columns);
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType /*type*/,
                                          std::uint64_t rows, std::uint64_t columns,
                                          std::int64_t /*stride*/) {
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{rows, columns});
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete reinterpret_cast<Layout*>(layout);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t /*what*/, cublasLtMatrixLayout_t /*a*/,
    cublasLtMatrixLayout_t /*b*/, cublasLtMatrixLayout_t /*c*/, cublasLtMatrixLayout_t /*d*/,
    cublasLtMatmulPreference_t /*preference*/, int /*wanted*/,
    cublasLtMatmulHeuristicResult_t results[], int* count) {
  results[0] = {};
  *count = 1;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t /*handle*/, cublasLtMatmulDesc_t /*what*/,
                              const void* /*alpha*/, const void* /*a*/, cublasLtMatrixLayout_t of_a,
                              const void* /*b*/, cublasLtMatrixLayout_t of_b, const void* /*beta*/,
                              const void* /*c*/, cublasLtMatrixLayout_t /*of_c*/, void* /*d*/,
                              cublasLtMatrixLayout_t /*of_d*/,
                              const cublasLtMatmulAlgo_t* /*algorithm*/, void* /*workspace*/,
                              std::size_t /*bytes*/, cudaStream_t stream) {
  const std::string what = "cublasLtMatmul <" + text(of_a) + " " + text(of_b) + ">";
  return static_cast<cublasStatus_t>(pretend_library_call(what.c_str(), stream));
}

}  // extern "C"
