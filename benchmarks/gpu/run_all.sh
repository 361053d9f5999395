#!/bin/bash
# run_all.sh [--out DIR] [--budget SECONDS] [--part NAME]... [--stand-in]: checks and measures the GPU path beside PyTorch on the
# same card, in under nine minutes: correctness first, then every row of the table. Runs from a build (build/release) or from the
# folder that pack.sh gathers. Writes results.jsonl and results.json, prints the table. Parts that the budget no longer reaches are
# named. --stand-in tries the script itself on a CPU and measures nothing.
# SPDX-License-Identifier: Apache-2.0
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=gpu-results; budget=530; stand_in=; parts=()
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=$2; shift 2 ;;
    --budget) budget=$2; shift 2 ;;
    --part) parts+=("$2"); shift 2 ;;
    --stand-in) stand_in=1; shift ;;
    *) sed -n '2,6s/^# //p' "$0"; exit 64 ;;
  esac
done
all=(kernels training ranks gpt mlp adamw packed resnet50 checkpoint processes packed_cnn memory)
[ ${#parts[@]} -gt 0 ] || parts=("${all[@]}")

bench=
for place in "${MUSTER_BENCH_GPU:-}" "$here/bin/muster-bench-gpu" "$here/../../build/release/bin/muster-bench-gpu"; do
  [ -x "$place" ] && { bench=$place; break; }
done
[ -n "$bench" ] || { echo "muster-bench-gpu is not here: cmake --build --preset release --target muster-bench-gpu muster_cuda"; exit 64; }
python=${PYTHON:-python3}
if ! torch=$("$python" -c 'import torch, os; print(os.path.dirname(torch.__file__))' 2>/dev/null); then
  echo "no PyTorch: set PYTHON to a Python that has torch 2.11 with CUDA"; exit 64
fi
# libtorch's own folder, and those of what it needs (the nvidia wheels lie beside it), before anything that was built in.
libraries=$torch/lib
for folder in "$(dirname "$torch")"/nvidia/*/lib; do [ -d "$folder" ] && libraries=$libraries:$folder; done
[ -d "$here/lib" ] && libraries=$libraries:$here/lib
mkdir -p "$out"; lines=$out/results.jsonl; : >"$lines"; log=$out/log.txt; : >"$log"
begun=$SECONDS
left() { echo $((budget - (SECONDS - begun))); }
export CUDA_DEVICE_MAX_CONNECTIONS=32
bench_arguments=(); [ -n "$stand_in" ] && { bench_arguments=(--stand_in=true --trials=3); export MUSTER_BENCH_SMALL=1; }

# keep SECONDS COMMAND..: its JSON lines, cut after so many seconds or at the end of the budget.
keep() {
  local most=$1; shift
  local room; room=$(left)
  [ "$room" -lt "$most" ] && most=$room
  if [ "$most" -lt 5 ]; then echo "{\"part\": \"skipped\", \"what\": \"$*\", \"why\": \"the budget of $budget s is spent\"}" >>"$lines"; return; fi
  echo "== $*" >>"$log"
  local rc=0
  timeout -k 5 "$most" "$@" 2>>"$log" | grep '^{' >>"$lines" || true
  rc=${PIPESTATUS[0]}
  [ "$rc" -eq 0 ] || echo "{\"part\": \"failed\", \"what\": \"$(basename "$1") ${*:2}\", \"code\": $rc}" >>"$lines"
}
muster() { local most=$1; shift; keep "$most" env LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$bench" "$@" "${bench_arguments[@]}"; }
peer() { local most=$1; shift; keep "$most" "$python" "$here/peers.py" "$@"; }

# several_ranks N: N processes on one card, each with an NCCL_HOSTID of its own. They find each other as torchrun's children do, by
# their parent, so they are started by this shell itself.
several_ranks() {
  local n=$1 port=$((20000 + RANDOM % 20000)) pids=() files=()
  for ((rank = 0; rank < n; ++rank)); do
    local file; file=$(mktemp); files+=("$file")
    env LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" RANK=$rank WORLD_SIZE="$n" LOCAL_RANK=$rank LOCAL_WORLD_SIZE="$n" \
      GROUP_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port NCCL_HOSTID="muster-$rank" NCCL_P2P_DISABLE=1 NCCL_SHM_DISABLE=1 \
      NCCL_SOCKET_IFNAME=lo "$bench" ranks "${bench_arguments[@]}" >"$file" 2>>"$log" & pids+=($!)
  done
  ( sleep 60; kill -9 "${pids[@]}" 2>/dev/null ) & local watch=$!
  local bad=0
  for pid in "${pids[@]}"; do wait "$pid" || bad=1; done
  kill "$watch" 2>/dev/null
  cat "${files[@]}" | grep '^{' >>"$lines" || true
  [ "$bad" -eq 0 ] || echo "{\"part\": \"failed\", \"what\": \"$n ranks on one card\", \"code\": 1}" >>"$lines"
  rm -f "${files[@]}"
}

# several_processes HOW N: N single trials at once, as processes; their speeds are added up.
several_processes() {
  local how=$1 n=$2 at=$(($(date +%s) + ${3:-25})) pids=() files=()
  [ "$(left)" -lt 45 ] && [ -z "$stand_in" ] && { echo "{\"part\": \"skipped\", \"what\": \"$n processes ($how)\", \"why\": \"the budget is spent\"}" >>"$lines"; return; }
  for ((i = 0; i < n; ++i)); do
    local file; file=$(mktemp); files+=("$file")
    ( timeout -k 5 80 env LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" "$bench" step --model=mlp --steps=2000 --start_at="$at" \
        "${bench_arguments[@]}" >"$file" 2>>"$log" ) & pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
  cat "${files[@]}" | "$python" -c "
import json, sys
steps = [json.loads(line)['step_us'] for line in sys.stdin if line.startswith('{')]
print(json.dumps({'part': 'processes', 'how': '$how', 'processes': $n, 'ended_well': len(steps),
                  'steps_per_second': round(sum(1e6 / s for s in steps), 1)}))" >>"$lines"
  rm -f "${files[@]}"
}

# A daemon of our own in private folders: neither the compute mode nor MIG is touched, and it is told to quit at the end.
with_mps() {
  local folder; folder=$(mktemp -d)
  export CUDA_MPS_PIPE_DIRECTORY=$folder/pipe CUDA_MPS_LOG_DIRECTORY=$folder/log
  mkdir -p "$CUDA_MPS_PIPE_DIRECTORY" "$CUDA_MPS_LOG_DIRECTORY"
  if command -v nvidia-cuda-mps-control >/dev/null && timeout 20 nvidia-cuda-mps-control -d 2>>"$log"; then
    several_processes mps 16
    echo quit | timeout 20 nvidia-cuda-mps-control 2>>"$log" >/dev/null
  else
    echo '{"part": "skipped", "what": "16 processes (mps)", "why": "nvidia-cuda-mps-control does not start here"}' >>"$lines"
  fi
  unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
  rm -rf "$folder"
}

disk_rate() {  # beside the checkpoints: what the disk alone takes, past the cache where it lets us
  local file=$out/disk.tmp start end how=direct
  start=$(date +%s%N)
  dd if=/dev/zero of="$file" bs=8M count="${1:-128}" oflag=direct conv=fsync 2>/dev/null || { how=cached; dd if=/dev/zero of="$file" bs=8M count="${1:-128}" conv=fsync 2>/dev/null; }
  end=$(date +%s%N); rm -f "$file"
  echo "{\"part\": \"disk\", \"how\": \"$how\", \"gb_s\": $("$python" -c "print(round(${1:-128} * 8 * 1048576 / ($end - $start), 3))")}" >>"$lines"
}

for part in "${parts[@]}"; do
  echo "$part ($((SECONDS - begun)) s)" >&2
  case $part in
    kernels) muster 60 kernels ;;
    training) muster 90 training ;;
    ranks) several_ranks 2; several_ranks 4 ;;
    gpt) muster 60 step --model=gpt; peer 60 gpt --how eager; peer 120 gpt --how compile; peer 60 gpt --how ddp ;;
    mlp) muster 40 step --model=mlp; peer 40 mlp --how eager; peer 60 mlp --how reduce-overhead ;;
    resnet50) muster 60 step --model=resnet50; peer 60 resnet50 --how eager; peer 120 resnet50 --how compile ;;
    adamw) muster 40 adamw ;;
    packed) muster 60 packed --model=mlp ;;
    packed_cnn) muster 60 packed --model=cnn ;;
    processes) if [ -n "$stand_in" ]; then several_processes slices 2 3; else several_processes slices 16; with_mps; fi ;;
    checkpoint) disk_rate "${stand_in:+4}"; muster 90 checkpoint --directory="$out" ; rm -rf "$out/checkpoints" ;;
    memory) muster 120 memory ;;
    *) echo "'$part' is no part; there are ${all[*]}" >&2; exit 64 ;;
  esac
done
[ -z "$stand_in" ] || echo "On the stand-in: this tries the script, and no figure below is a measurement."
"$python" "$here/table.py" "$lines" --seconds $((SECONDS - begun)) --json "$out/results.json"
