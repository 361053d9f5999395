/// MUSTER_ANYWHERE: in front of a function that runs on the host and, where nvcc compiles it, on a
/// GPU too. So a kernel and its twin on the CPU are one text.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define MUSTER_ANYWHERE __host__ __device__ inline
#else
#define MUSTER_ANYWHERE inline
#endif

namespace muster {

/// e^x; on a GPU by its special function unit (2 units in the last place more), and 0 where x <
/// -87: __expf spends instructions on those, and cross-entropy is as long as it has instructions.
MUSTER_ANYWHERE float quick_exp(float x) {
#ifdef __CUDA_ARCH__
  float y = 0;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634F));
  return y;
#else
  return std::exp(x);
#endif
}

/// 1 / (1 + e^-x); on a GPU by quick_exp.
MUSTER_ANYWHERE float quick_logistic(float x) {
#ifdef __CUDA_ARCH__
  float y = 0;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(1 + quick_exp(-x)));
  return y;
#else
  return 1 / (1 + std::exp(-x));
#endif
}

/// The GPU's own roundings to 16-bit floats and back, to nearest even. False on the host, which has
/// to do them by hand.
MUSTER_ANYWHERE bool gpu_rounds_bf16(float value, std::uint16_t& bits) {
#ifdef __CUDA_ARCH__
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return true;
#else
  (void)value;
  (void)bits;
  return false;
#endif
}
MUSTER_ANYWHERE bool gpu_rounds_f16(float value, std::uint16_t& bits) {
#ifdef __CUDA_ARCH__
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return true;
#else
  (void)value;
  (void)bits;
  return false;
#endif
}
MUSTER_ANYWHERE bool gpu_widens_f16(std::uint16_t bits, float& value) {
#ifdef __CUDA_ARCH__
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return true;
#else
  (void)bits;
  (void)value;
  return false;
#endif
}

/// 16 bytes into memory of the GPU, in one access. False on the host, which writes nothing.
MUSTER_ANYWHERE bool gpu_stores_16_bytes(void* to, const void* from) {
#ifdef __CUDA_ARCH__
  uint4 words;
  memcpy(&words, from, sizeof(words));
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
               "r"(words.x), "r"(words.y), "r"(words.z), "r"(words.w)
               : "memory");
  return true;
#else
  (void)to;
  (void)from;
  return false;
#endif
}

}  // namespace muster
