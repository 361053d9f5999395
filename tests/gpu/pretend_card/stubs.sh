#!/bin/sh
# stubs.sh LIBTORCH_LIB PATTERN VERSION OUT [OBJECT]..: C++ of a library that has every name matching PATTERN that libtorch's GPU half
# wants and the objects do not have, and OUT.map for the version of its symbols. What computes is noted on its queue.
# SPDX-License-Identifier: Apache-2.0
set -eu
libtorch=$1; pattern=$2; version=$3; out=$4; shift 4
have=$([ $# -eq 0 ] || nm -g --defined-only "$@" | awk 'NF == 3 { print $3 }')
echo "$version { global: *; };" >"$out.map"
{
  echo 'extern "C" {'
  echo 'int pretend_handle_call(const char* what, const void* handle);'
  echo 'int pretend_library_create(void** out);'
  echo 'int pretend_library_unknown(const char* what);'
  for library in torch_cuda c10_cuda torch_cuda_linalg torch_nvshmem torch_cpu torch_python caffe2_nvrtc; do
    [ ! -e "$libtorch/lib$library.so" ] || nm -D --undefined-only "$libtorch/lib$library.so"
  done | awk -v pattern="$pattern" -v have="$have" '
    BEGIN { count = split(have, names, "\n"); for (i = 1; i <= count; ++i) seen[names[i]] = 1 }
    { name = $2; sub(/@.*/, "", name) }
    name !~ pattern || name in seen { next }
    { seen[name] = 1 }
    name ~ /^(__)?cuda|^nccl/ { print "int " name "() { return pretend_library_unknown(\"" name "\"); }"; next }
    name ~ /Create/ { print "int " name "(void** out) { return pretend_library_create(out); }"; next }
    name ~ /Set|Get|Destroy|Init|[Dd]esc/ { print "int " name "() { return 0; }"; next }
    { print "int " name "(void* handle) { return pretend_handle_call(\"" name "\", handle); }" }'
  echo '}'
} >"$out"
