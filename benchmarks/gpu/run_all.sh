#!/bin/bash
# run_all.sh [--out DIR] [--budget SECONDS] [--part NAME]... [--stand-in]: checks and measures the GPU path beside PyTorch on the
# same card, in under nine minutes: correctness first, then every row of the table. Runs from a build (build/release) or from the
# folder that pack.sh gathers. Writes results.jsonl and results.json, prints the table, whatever fails or hangs on the way: a part has
# a time of its own, and what the budget no longer reaches is named. --stand-in tries the script itself on a CPU and measures nothing.
# In two calls on one machine, the second need not wait for PyTorch's compilers: the first with --part kernels --part training
# --part ranks --part compile, the second with the other parts.
# SPDX-License-Identifier: Apache-2.0
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=gpu-results; budget=525; stand_in=; parts=()
while [ $# -gt 0 ]; do
  case $1 in
    --out) out=${2:?--out DIR}; shift 2 ;;
    --budget) budget=${2:?--budget SECONDS}; shift 2 ;;
    --part) parts+=("${2:?--part NAME}"); shift 2 ;;
    --stand-in) stand_in=1; shift ;;
    *) sed -n '2,7s/^# //p' "$0"; exit 64 ;;
  esac
done
all=(kernels training ranks compile adamw mlp gpt packed resnet50 checkpoint memory packed_cnn processes)
[ ${#parts[@]} -gt 0 ] || parts=("${all[@]}")
for part in "${parts[@]}"; do
  [[ " ${all[*]} " == *" $part "* ]] || { echo "'$part' is no part; there are ${all[*]}" >&2; exit 64; }
done

bench=
for place in "${MUSTER_BENCH_GPU:-}" "$here/bin/muster-bench-gpu" "$here/../../build/release/bin/muster-bench-gpu"; do
  [ -x "$place" ] && { bench=$place; break; }
done
[ -n "$bench" ] || { echo "muster-bench-gpu is not here: cmake --build --preset release --target muster-bench-gpu muster_cuda"; exit 64; }
python=${PYTHON:-python3}
if ! torch=$(timeout 120 "$python" -c 'import torch, os; print(os.path.dirname(torch.__file__))' 2>/dev/null); then
  echo "no PyTorch: set PYTHON to a Python that has torch 2.11 with CUDA"; exit 64
fi
# libtorch's own folder, and those of what it needs (the nvidia wheels lie beside it), before anything that was built in.
libraries=$torch/lib
for folder in "$(dirname "$torch")"/nvidia/*/lib; do [ -d "$folder" ] && libraries=$libraries:$folder; done
[ -d "$here/lib" ] && libraries=$libraries:$here/lib
libraries=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
mkdir -p "$out"; out=$(cd "$out" && pwd)
lines=$out/results.jsonl; : >"$lines"; log=$out/log.txt; : >"$log"
begun=$SECONDS
left() { echo $((budget - (SECONDS - begun))); }
slack=1; [ -n "$stand_in" ] && { slack=4; budget=$((budget * slack)); }  # one core may have to do it all
bench_arguments=(); [ -n "$stand_in" ] && { bench_arguments=(--stand_in=true --trials=3); export MUSTER_BENCH_SMALL=1; }

# The table comes at the end of everything, that of a signal too.
finish() {
  local code=$?
  trap - EXIT
  for pid in $(jobs -p); do kill "$pid" 2>/dev/null; done
  rm -rf "$out/checkpoints"
  [ -z "$stand_in" ] || echo "On the stand-in: this tries the script, and no figure below is a measurement."
  "$python" "$here/table.py" "$lines" --seconds $((SECONDS - begun)) --json "$out/results.json" ${stand_in:+--stand-in} || code=1
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# note KIND WHAT WHY [CODE]: a line that says what is not there, and why.
note() { "$python" "$here/table.py" --note "$1" "$2" " $3" "${@:4}" >>"$lines"; }

# keep WHAT SECONDS COMMAND..: its JSON lines, cut after so many seconds or at the end of the budget.
keep() {
  local what=$1 most=$(($2 * slack)); shift 2
  local room errors rc
  room=$(left)
  [ "$room" -lt "$most" ] && most=$room
  if [ "$most" -lt 5 ]; then note skipped "$what" "the budget of $budget s is spent"; return; fi
  errors=$(mktemp); echo "== $what ($((SECONDS - begun)) s)" >>"$log"
  timeout -k 5 "$most" "$@" 2>"$errors" </dev/null | grep '^{' >>"$lines"
  rc=${PIPESTATUS[0]}
  cat "$errors" >>"$log"
  if [ "$rc" -eq 124 ] || [ "$rc" -eq 137 ]; then note failed "$what" "not over after $most s" "$rc"
  elif [ "$rc" -ne 0 ]; then note failed "$what" "$(tail -n 3 "$errors")" "$rc"; fi
  rm -f "$errors"
}
muster() { local most=$1; shift; keep "muster $*" "$most" env LD_LIBRARY_PATH="$libraries" "$bench" "$@" "${bench_arguments[@]}"; }
peer() { local most=$1; shift; keep "torch $*" "$most" "$python" "$here/peers.py" "$@"; }

# several_ranks N: N processes on one card, each with an NCCL_HOSTID of its own, so that NCCL takes them for machines that talk by
# sockets. They find each other as torchrun's children do, by their parent, so they are started by this shell itself.
several_ranks() {
  local n=$1 port=$((20000 + RANDOM % 20000)) most pids=() files=() bad=0 errors
  most=$(left); [ "$most" -gt 75 ] && most=75
  if [ "$most" -lt 20 ]; then note skipped "$n ranks on one card" "the budget of $budget s is spent"; return; fi
  errors=$(mktemp)
  for ((rank = 0; rank < n; ++rank)); do
    local file; file=$(mktemp); files+=("$file")
    env LD_LIBRARY_PATH="$libraries" RANK=$rank WORLD_SIZE="$n" LOCAL_RANK=$rank LOCAL_WORLD_SIZE="$n" \
      GROUP_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port NCCL_HOSTID="muster-$rank" NCCL_NET=Socket NCCL_IB_DISABLE=1 \
      NCCL_SOCKET_IFNAME=lo NCCL_P2P_DISABLE=1 NCCL_SHM_DISABLE=1 NCCL_MNNVL_ENABLE=0 NCCL_NVLS_ENABLE=0 NCCL_CUMEM_HOST_ENABLE=0 \
      NCCL_MAX_NCHANNELS=2 "$bench" ranks "${bench_arguments[@]}" >"$file" 2>>"$errors" </dev/null & pids+=($!)
  done
  local rc end=$((SECONDS + most))
  while [ ${#pids[@]} -gt 0 ]; do
    for i in "${!pids[@]}"; do
      kill -0 "${pids[i]}" 2>/dev/null && continue
      wait "${pids[i]}" 2>/dev/null; rc=$?; unset "pids[i]"
      if [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; then  # the others notice soon, or wait for it in vain
        bad=$rc; [ $((SECONDS + 20)) -ge "$end" ] || end=$((SECONDS + 20))
      fi
    done
    [ "$SECONDS" -lt "$end" ] || { kill -9 "${pids[@]}" 2>/dev/null; end=$((end + 5)); }
    sleep 0.2
  done 2>>"$log"  # where bash names what was killed
  cat "${files[@]}" | grep '^{' >>"$lines"
  echo "== $n ranks on one card" >>"$log"; cat "$errors" >>"$log"
  if [ "$bad" -eq 137 ]; then note failed "$n ranks on one card" "not over after $most s; $(tail -n 2 "$errors")" "$bad"
  elif [ "$bad" -ne 0 ]; then note failed "$n ranks on one card" "$(tail -n 3 "$errors")" "$bad"; fi
  rm -f "${files[@]}" "$errors"
}

# several_processes HOW N [SECONDS]: N single trials at once, as processes that begin together after so many seconds; their speeds are
# added up.
several_processes() {
  local how=$1 n=$2 wait_for=${3:-20} pids=() files=() at most
  if [ "$(left)" -lt 45 ] && [ -z "$stand_in" ]; then note skipped "$n processes ($how)" "the budget of $budget s is spent"; return; fi
  at=$(($(date +%s) + wait_for)); most=$(left); [ "$most" -gt 60 ] && most=60
  for ((i = 0; i < n; ++i)); do
    local file; file=$(mktemp); files+=("$file")
    ( timeout -k 5 "$most" env LD_LIBRARY_PATH="$libraries" "$bench" step --model=mlp --steps=5000 --start_at="$at" \
        "${bench_arguments[@]}" >"$file" 2>>"$log" </dev/null ) & pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
  "$python" "$here/table.py" --processes "$how" "$n" "${files[@]}" >>"$lines"
  rm -f "${files[@]}"
}

# A daemon of our own in private folders: neither the compute mode nor MIG is touched, and it is told to quit at the end.
with_mps() {
  local folder; folder=$(mktemp -d)
  export CUDA_MPS_PIPE_DIRECTORY=$folder/pipe CUDA_MPS_LOG_DIRECTORY=$folder/log
  mkdir -p "$CUDA_MPS_PIPE_DIRECTORY" "$CUDA_MPS_LOG_DIRECTORY"
  local PATH=$PATH:/usr/local/nvidia/bin
  if command -v nvidia-cuda-mps-control >/dev/null && timeout 20 nvidia-cuda-mps-control -d >>"$log" 2>&1 </dev/null; then
    several_processes mps 16
    echo "quit -t 5" | timeout 20 nvidia-cuda-mps-control >>"$log" 2>&1
  else
    note skipped "16 processes (mps)" "nvidia-cuda-mps-control does not start here"
  fi
  cat "$CUDA_MPS_LOG_DIRECTORY"/*.log >>"$log" 2>/dev/null
  unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
  rm -rf "$folder"
}

disk_rate() {  # beside the checkpoints: what the disk alone takes, past the cache where it lets us
  local file=$out/disk.tmp start end how=direct
  start=$(date +%s%N)
  timeout 20 dd if=/dev/zero of="$file" bs=8M count="${1:-128}" oflag=direct conv=fsync 2>/dev/null \
    || { how=cached; start=$(date +%s%N); timeout 20 dd if=/dev/zero of="$file" bs=8M count="${1:-128}" conv=fsync 2>/dev/null; }
  end=$(date +%s%N); rm -f "$file"
  echo "{\"part\": \"disk\", \"how\": \"$how\", \"gb_s\": $("$python" -c "print(round(${1:-128} * 8 * 1048576 / ($end - $start), 3))")}" >>"$lines"
}

# PyTorch compiles while correctness is checked, where nothing is timed; the timed runs find it in the cache, those of a later call too.
compile_ahead() {
  [ -z "$stand_in" ] && [[ " ${parts[*]} " == *" compile "* ]] || return
  for pair in "gpt compile" "resnet50 compile" "mlp reduce-overhead"; do
    timeout -k 5 150 "$python" "$here/peers.py" ${pair% *} --how ${pair#* } --prepare --batch $([ ${pair% *} = gpt ] && echo $gpt_batch || echo 0) >/dev/null 2>>"$log" </dev/null &
    ahead+=($!)
  done
}
ahead=()
await_ahead() { for pid in "${ahead[@]}"; do wait "$pid"; done; ahead=(); }

# GPT's batch is 64 where the card has room for PyTorch's copies of the logits, else 32, for both.
card=$(timeout 120 "$python" "$here/table.py" --card 2>>"$log"); [ -n "$card" ] && echo "$card" >>"$lines"
gpt_batch=64; [[ "$card" =~ \"gib\":\ ([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -lt 100 ] && gpt_batch=32
[ -n "$stand_in" ] && gpt_batch=0

compile_ahead
for part in "${parts[@]}"; do
  echo "$part ($((SECONDS - begun)) s)" >&2
  case $part in kernels | training | ranks) ;; *) await_ahead ;; esac
  case $part in
    kernels) muster 60 kernels ;;
    training) muster 90 training ;;
    ranks) several_ranks 2; several_ranks 4 ;;
    gpt) muster 60 step --model=gpt --batch=$gpt_batch
      for how in eager compile ddp; do peer 120 gpt --how $how --batch $gpt_batch; done ;;
    mlp) muster 40 step --model=mlp; peer 40 mlp --how eager; peer 90 mlp --how reduce-overhead ;;
    resnet50) muster 100 step --model=resnet50; peer 100 resnet50 --how eager; peer 120 resnet50 --how compile ;;
    adamw) muster 40 adamw ;;
    packed) muster 60 packed --model=mlp ;;
    packed_cnn) muster 60 packed --model=cnn ;;
    processes) if [ -n "$stand_in" ]; then several_processes slices 2 3; else several_processes slices 16; with_mps; fi ;;
    checkpoint) disk_rate "${stand_in:+4}"; muster 90 checkpoint --batch=$gpt_batch --directory="$out"; rm -rf "$out/checkpoints" ;;
    memory) muster 130 memory --seconds=$(($(left) < 190 ? $(left) - 90 : 100)) ;;
  esac
done
