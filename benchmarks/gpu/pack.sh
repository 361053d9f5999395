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
# Every library beyond torch's, CUDA's, and the C and C++ libraries: those are newer there, and parts of one C library do not go with
# another.
there='libtorch|libc10|libgomp|libcud|libcupti|libcublas|libcufile|libcusparse|libcusolver|libcufft|libcurand|libnv|libnccl'
there+='|libc\.so|libm\.so|libdl\.|libpthread|librt\.|libresolv|libnss_|libanl|libutil|libnsl|libcrypt\.so|libstdc|libgcc_s|ld-linux|linux-vdso'
for program in "$folder/bin/muster-bench-gpu" "$folder/lib/libmuster_cuda.so"; do
  listed=$(ldd "$program")
  missing=$(grep 'not found' <<<"$listed" | grep -vE "^[[:space:]]*($there)" || true)
  [ -z "$missing" ] || { echo "libraries that this machine lacks itself: $missing"; exit 1; }
  awk '$2 == "=>" && $3 ~ /^\// {print $3}' <<<"$listed" | grep -vE "/($there)" | while read -r library; do
    cp -Lu "$library" "$folder/lib/"
  done
done
size=$(du -sm "$folder" | cut -f1)
echo "$folder: $size MB"
[ "$size" -lt 60 ] || { echo "more than the 60 MB that travel"; exit 1; }
