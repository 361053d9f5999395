/// by_type: calls `body` with a null pointer of the C++ type of a float DType.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/base/error.h"
#include "runtime/comm/buffer.h"
#include "runtime/gpu/small_floats.h"

namespace muster {

template <class Body>
void by_type(DType type, Body&& body) {
  switch (type) {
    case DType::float32:
      return body(static_cast<float*>(nullptr));
    case DType::bfloat16:
      return body(static_cast<Bf16*>(nullptr));
    case DType::float16:
      return body(static_cast<F16*>(nullptr));
    default:
      throw Error(Fault::bug, "a kernel for floats was given " + std::string(name_of(type)));
  }
}

}  // namespace muster
