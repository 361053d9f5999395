#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What CMake says where libraries are missing: all of them at once, each with its remedy: configure_test.sh SOURCE
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
source_tree=$1

expect_failure() {  # WORDS.. -- OPTIONS..
  local words=()
  while [ "$1" != -- ]; do words+=("$1"); shift; done; shift
  rm -rf "$work/build"
  if cmake -S "$source_tree" -B "$work/build" -G Ninja "$@" > "$work/log" 2>&1; then
    echo "configured although it should not have: $*"; exit 1
  fi
  local text; text=$(tr -s ' \n' '  ' < "$work/log")
  for word in "${words[@]}"; do
    [[ "$text" == *"$word"* ]] || { echo "not said: $word"; cat "$work/log"; exit 1; }
  done
}

echo "== no source is forgotten: each is named in a list, or is one of the parts of a foreach"
forgotten=$(cd "$source_tree" && lists=$(git ls-files '*CMakeLists.txt' | xargs cat) && git ls-files '*.cc' '*.cu' | while read -r file; do
  name=$(basename "$file"); part=${name%_test.cc}
  grep -qE "(^|[^a-z_])$name|foreach\(.*[ (]$part[ )]" <<< "$lists" || echo "$file"
done)
[ -z "$forgotten" ] || { echo "named in no CMakeLists.txt:"; echo "$forgotten"; exit 1; }

echo "== two libraries missing: one message names both"
expect_failure "HDF5: no data sets, no checkpoints. Debian: apt install libhdf5-dev" "fmt 9: no text is written" "CMAKE_PREFIX_PATH" -- \
  -DCMAKE_DISABLE_FIND_PACKAGE_HDF5=ON -DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON

echo "== CUDA insisted on"
expect_failure "MUSTER_WITH_CUDA=ON, and these are missing" "the CUDA toolkit 12 or later" "AUTO builds without them" -- \
  -DMUSTER_WITH_CUDA=ON -DCMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit=ON

echo "== CUDA left out"
cmake -S "$source_tree" -B "$work/without" -G Ninja -DMUSTER_WITH_CUDA=OFF > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
grep -q '"CUDA", "none"' "$work/without/launcher/cli/build_info.cc"

echo "== a build folder whose libtorch has gone, or that is given another one, finds the right one"
torch=$(sed -n 's/^MusterTorch_CPU_LIBRARY:FILEPATH=\(.*\)\/lib\/libtorch_cpu.so$/\1/p' "$work/without/CMakeCache.txt")
for name in first second; do ln -s "$torch" "$work/$name"; done
finds() { cmake "$work/without" > "$work/log" 2>&1 && grep -q "MusterTorch_CPU_LIBRARY:FILEPATH=$1/lib/" "$work/without/CMakeCache.txt"; }
MUSTER_TORCH=$work/first finds "$work/first" || { echo "MUSTER_TORCH was not taken"; cat "$work/log"; exit 1; }
(unset MUSTER_TORCH; finds "$work/first") || { echo "it was given up though it is there"; exit 1; }
rm "$work/first"
MUSTER_TORCH=$work/second finds "$work/second" || { echo "the second was not found"; cat "$work/log"; exit 1; }
echo good
