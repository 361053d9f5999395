#!/bin/bash
# pack.sh FOLDER [BUILD]: gathers what run_all.sh needs into one folder of less than 60 MB, for a machine with a card, a driver and
# a torch 2.11 wheel (any Python), but without Open MPI, HDF5 or Boost and without a network. There: FOLDER/run_all.sh.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,3s/^# //p' "$0"; exit 64; }
folder=$1; build=${2:-$here/../../build/release}
for file in "$build/bin/muster-bench-gpu" "$build/lib/libmuster_cuda.so"; do
  [ -e "$file" ] || { echo "$file is not there: cmake --build --preset release --target muster-bench-gpu muster_cuda"; exit 64; }
done
rm -rf "$folder"; mkdir -p "$folder/bin" "$folder/lib"
cp "$build/bin/muster-bench-gpu" "$folder/bin/"; cp "$build/lib/libmuster_cuda.so" "$folder/lib/"
strip --strip-debug "$folder/bin/muster-bench-gpu" "$folder/lib/libmuster_cuda.so"
cp "$here/run_all.sh" "$here/table.py" "$here/peers.py" "$folder/"
# Every library beyond torch's, CUDA's and the C and C++ libraries, which are newer there.
ours='libtorch|libc10|libgomp|libcud|libcupti|libcublas|libnv|libnccl|libc\.so|libm\.so|libdl\.|libpthread|librt\.|libstdc|libgcc_s|ld-linux|linux-vdso'
ldd "$folder/bin/muster-bench-gpu" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | grep -vE "/($ours)" | while read -r library; do
  cp -L "$library" "$folder/lib/"
done
missing=$(ldd "$folder/bin/muster-bench-gpu" | grep 'not found' || true)
[ -z "$missing" ] || { echo "libraries that this machine lacks itself: $missing"; exit 1; }
size=$(du -sm "$folder" | cut -f1)
echo "$folder: $size MB"
[ "$size" -lt 60 ] || { echo "more than the 60 MB that travel"; exit 1; }
