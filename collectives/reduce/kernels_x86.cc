// The loops three times: the compiler makes vectors of what each function's target allows, and the
// processor is asked once. SPDX-License-Identifier: Apache-2.0
#include "collectives/reduce/kernel_body.h"

namespace muster::kernels {
namespace {

template <class In, class Out, class Op>
struct Plain {
  static void run(const Job& job) { reduce_body<In, Out, Op>(job); }
};
template <class In, class Out, class Op>
struct Avx2 {
  [[gnu::target("avx2")]] static void run(const Job& job) { reduce_body<In, Out, Op>(job); }
};
template <class In, class Out, class Op>
struct Avx512 {
  [[gnu::target("avx512f,avx512bw,avx512vl,avx512dq")]] static void run(const Job& job) {
    reduce_body<In, Out, Op>(job);
  }
};

constexpr Table plain = table_of<Plain>();
constexpr Table avx2 = table_of<Avx2>();
constexpr Table avx512 = table_of<Avx512>();

bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0;
}

}  // namespace

const Table& best() {
  static const Table& chosen = has_avx512()                          ? avx512
                               : __builtin_cpu_supports("avx2") != 0 ? avx2
                                                                     : plain;
  return chosen;
}

}  // namespace muster::kernels
