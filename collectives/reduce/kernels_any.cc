// One set of loops, for processors that this project has no choice of vectors for.
// SPDX-License-Identifier: Apache-2.0
#include "collectives/reduce/kernel_body.h"

namespace muster::kernels {
namespace {

template <class In, class Out, class Op>
struct Plain {
  static void run(const Job& job) { reduce_body<In, Out, Op>(job); }
};
constexpr Table plain = table_of<Plain>();

}  // namespace

const Table& best() {
  return plain;
}

}  // namespace muster::kernels
