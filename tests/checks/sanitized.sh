#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Builds the tests of a label with a sanitizer's preset and runs them: sanitized.sh SOURCE asan|tsan LABEL
set -euo pipefail
cd "$1"; preset=$2; label=$3
jobs=$(nproc)
cmake --preset "$preset" > /dev/null
cmake --build "build/$preset" -j "$jobs" --target "tests_$label"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-suppressions=$PWD/tests/checks/tsan.supp:history_size=4}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
ctest --test-dir "build/$preset" --no-tests=error --output-on-failure -j "$jobs" -L "^$label\$" -LE 'slow|stress|slurm|mpi'
