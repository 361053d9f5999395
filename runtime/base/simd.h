/// MUSTER_SIMD: compiles a function once for each width of vector registers and picks at start; on
/// other machines it is nothing. For loops over plain arrays. Pair it with -O3 -ffp-contract=off,
/// so that every width gives the same bits.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define MUSTER_SIMD [[gnu::target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")]]
#else
#define MUSTER_SIMD
#endif
