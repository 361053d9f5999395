#!/bin/bash
# One test of sweeps against a private Slurm: sweep_case.sh NAME MUSTER DIGITS.h5. Exits 77 (skipped) with a sentence where Slurm is missing.
set -u
name=$1 muster=$2 digits=$3
here=$(cd "$(dirname "$0")" && pwd)
if why=$("$here/cluster.sh" missing); then echo "skipped: $why"; exit 77; fi

dir=$(mktemp -d /tmp/muster-slurm-XXXXXX)
chmod 755 "$dir"
mkdir -p "$dir/work"
finish() {
  local code=$?
  [ $code -ne 0 ] && { echo "--- what was there:"; tail -n 40 "$dir"/work/sweeps/s/log/*.log "$dir"/work/sweeps/s/workers.log "$dir"/work/out 2> /dev/null; squeue 2> /dev/null; }
  "$here/cluster.sh" down "$dir/cluster" > /dev/null 2>&1
  rm -rf "$dir"
  exit $code
}
trap finish EXIT
fail() { echo "FAILED: $*"; exit 1; }
eventually() {
  local until=$((SECONDS + $1)); shift
  until "$@"; do [ $SECONDS -ge $until ] && return 1; sleep 0.2; done
}
epochs() { cat "$dir"/work/sweeps/s/trials/*/metrics.jsonl 2> /dev/null | wc -l; }
trained() { [ "$(epochs)" -gt "$1" ]; }
says() { cat "$dir"/work/sweeps/s/log/*.log "$dir"/work/out 2> /dev/null | grep -q -- "$1"; }
# Every epoch of every trial once: nothing was lost, nothing done twice.
nothing_twice() {
  for trial in "$dir"/work/sweeps/s/trials/*; do
    local twice
    twice=$(grep -o '"epoch":[0-9.]*' "$trial/metrics.jsonl" | sort | uniq -d)
    [ -z "$twice" ] || { echo "$(basename "$trial") did $twice twice"; return 1; }
    [ "$(wc -l < "$trial/metrics.jsonl")" = "$1" ] || { echo "$(basename "$trial") has $(wc -l < "$trial/metrics.jsonl") epochs"; return 1; }
  done
}

cd "$dir/work" || exit 1
unset "${!SLURM_@}" 2> /dev/null
"$here/cluster.sh" up "$dir/cluster" "${GRACE:-20}" || fail "the cluster did not start"
export SLURM_CONF=$dir/cluster/slurm.conf
cat > job.ini << JOB
[data]
path = $digits
validation_fraction = 0.2
[model]
kind = mlp
hidden = 64
[train]
batch_size = 16
JOB
cat > sweep.ini << SWEEP
name = s
ranks = 2
[tune]
objective = max val_accuracy
strategy = random
max_trials = 4
parallel = 2
min_resource = 150
max_resource = 150
[search]
optimizer.lr = log 0.01 0.2
[trial]
job = job.ini
[slurm]
nodes = 2
SWEEP

preempted() {
  "$muster" submit sweep.ini > out 2>&1 || fail "submit: $(cat out)"
  eventually 240 trained 20 || fail "it does not train"
  sbatch -p high -N2 --exclusive --wrap "sleep 2" --output=/dev/null > /dev/null
  eventually 120 says "the same command goes on from here" || fail "it did not save"
  eventually 240 says "continuing sweep s" || fail "it did not come back"
  eventually 300 says "s: 4 trials, over" || fail "it did not end"
  nothing_twice 150 || fail "work was lost"
}

array_workers() {
  sed -i 's/^ranks = 2/ranks = 1/; s/^parallel = 2/parallel = 0/; s/^nodes = 2/nodes = 1/; s/^max_trials = 4/max_trials = 8/' sweep.ini
  "$muster" tune sweep.ini > out 2>&1 &
  local coordinator=$!
  "$muster" submit sweep.ini --workers 0-1 --slots 1 > submitted 2>&1 || fail "submit: $(cat submitted)"
  eventually 240 says "has joined with 1 slots" || fail "no worker has joined"
  eventually 240 trained 100 || fail "it does not train"
  sbatch -p high -N2 --exclusive --wrap "sleep 2" --output=/dev/null > /dev/null
  eventually 240 says "has left" || fail "preempted workers did not leave"
  wait $coordinator || fail "the sweep: $(cat out)"
  says "s: 8 trials, over" || fail "the sweep did not end"
  nothing_twice 150 || fail "work was lost"
}

"$name" || exit 1
