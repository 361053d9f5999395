#!/bin/bash
# on_card.sh [-n RANKS] FOLDER PROGRAM [ARGUMENT]..: a program of FOLDER/bin on the pretended card, or several of it as torchrun starts
# ranks. Fails where one fails, or breaks a rule of the card, and names it.
# SPDX-License-Identifier: Apache-2.0
set -u
ranks=1
[ "$1" = -n ] && { ranks=$2; shift 2; }
folder=$1 program=$2; shift 2
preloaded=$(printf '%s:' "$folder"/preload/*.so*)
faults=$(mktemp)
export PRETEND_CARD_SEED=${PRETEND_CARD_SEED:-$RANDOM}  # of when its queues are late (line.h)
port=$((20000 + RANDOM % 20000))
pids=()
for ((rank = 0; rank < ranks; ++rank)); do
  several=()
  [ "$ranks" -gt 1 ] && several=(RANK=$rank WORLD_SIZE="$ranks" LOCAL_RANK=$rank LOCAL_WORLD_SIZE="$ranks" GROUP_RANK=0
    MASTER_ADDR=127.0.0.1 MASTER_PORT=$port NCCL_HOSTID="pretended-$rank")
  env PRETEND_CARD_FAULTS="$faults" LD_PRELOAD="$preloaded" "${several[@]}" "$folder/bin/$program" "$@" </dev/null & pids+=($!)
done
code=0
for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
if [ -s "$faults" ]; then
  echo "the rules of the card that were broken:"; sort "$faults" | uniq -c
  code=1
fi
[ "$code" = 0 ] || echo "the card's queues were late by PRETEND_CARD_SEED=$PRETEND_CARD_SEED"
rm -f "$faults"
exit "$code"
