#!/bin/bash
# slurm_same_model.sh MUSTER MUSTER_RANK: the digits under `srun --mpi=pmix muster-rank` on one node and on two, against `muster train`:
# the model must have the same bytes. Exits 77 (skipped) with a sentence where Slurm is missing.
set -u
muster=$1 rank=$2
source=$(cd "$(dirname "$0")/../.." && pwd)
cluster=$source/tests/slurm/cluster.sh
if why=$("$cluster" missing); then echo "skipped: $why"; exit 77; fi

dir=$(mktemp -d /tmp/muster-same-XXXXXX)
chmod 755 "$dir"
trap '"$cluster" down "$dir/cluster" > /dev/null 2>&1; rm -rf "$dir"' EXIT
fail() { echo "FAILED: $*"; exit 1; }
options="configs/digits_mlp.ini --train.epochs 2 --train.threads 1 --train.progress false --runs $dir/runs"

cd "$source" || exit 1
unset "${!SLURM_@}" 2> /dev/null
timeout 100 "$muster" train $options --name muster --ranks 2 > "$dir/out" 2>&1 || fail "muster train: $(cat "$dir/out")"
"$cluster" up "$dir/cluster" 20 || fail "the cluster did not start"
export SLURM_CONF=$dir/cluster/slurm.conf
for nodes in 1 2; do
  timeout 100 srun --mpi=pmix -N$nodes -n2 --overcommit "$rank" $options --name srun$nodes > "$dir/out" 2>&1 || fail "srun on $nodes: $(cat "$dir/out")"
  for file in model.h5 model.safetensors; do
    cmp "$dir/runs/muster/model/$file" "$dir/runs/srun$nodes/model/$file" || fail "$file differs on $nodes node(s)"
  done
done
