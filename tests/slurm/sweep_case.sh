#!/bin/bash
# One test of sweeps against a private Slurm: sweep_case.sh NAME MUSTER DIGITS.h5. Exits 77 (skipped) with a sentence where Slurm is missing.
name=$1 muster=$2 digits=$3
. "$(dirname "$0")/rig.sh"

what_was_there() { tail -n 40 sweeps/s/log/*.log sweeps/s/workers.log out submitted; muster_table; }
muster_table() { "$muster" show s; }
epochs() { cat sweeps/s/trials/*/metrics.jsonl 2> /dev/null | wc -l; }
trained() { [ "$(epochs)" -gt "$1" ]; }
says() { cat sweeps/s/log/*.log out 2> /dev/null | grep -q -- "$1"; }
# Every epoch of every trial once: nothing was lost, nothing done twice.
nothing_twice() {
  for trial in sweeps/s/trials/*; do
    local twice
    twice=$(grep -o '"epoch":[0-9.]*' "$trial/metrics.jsonl" | sort | uniq -d)
    [ -z "$twice" ] || { echo "$(basename "$trial") did $twice twice"; return 1; }
    [ "$(wc -l < "$trial/metrics.jsonl")" = "$1" ] || { echo "$(basename "$trial") has $(wc -l < "$trial/metrics.jsonl") epochs"; return 1; }
  done
}
# Somebody of higher priority takes both nodes for a moment.
preempt() { take_both_nodes "$PWD/enough" > /dev/null; eventually 240 says "$1" || fail "$2"; touch enough; }

# write_sweep WORKERS PARALLEL TRIALS NODES
write_sweep() {
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
ranks = $1
[tune]
objective = max val_accuracy
strategy = random
parallel = $2
max_trials = $3
min_resource = 150
max_resource = 150
[search]
optimizer.lr = log 0.01 0.2
[trial]
job = job.ini
[slurm]
nodes = $4
SWEEP
}

preempted() {
  write_sweep 2 2 4 2
  "$muster" submit sweep.ini > out 2>&1 || fail "submit: $(cat out)"
  eventually 240 trained 20 || fail "it does not train"
  preempt "the same command goes on from here" "it did not save"
  eventually 240 says "continuing sweep s" || fail "it did not come back"
  eventually 300 says "s: 4 trials, over" || fail "it did not end"
  nothing_twice 150 || fail "work was lost"
}

array_workers() {
  write_sweep 1 0 8 1
  "$muster" tune sweep.ini > out 2>&1 &
  local coordinator=$!
  "$muster" submit sweep.ini --workers 0-1 --slots 1 > submitted 2>&1 || fail "submit: $(cat submitted)"
  eventually 240 says "has joined with 1 slots" || fail "no worker has joined"
  eventually 240 trained 100 || fail "it does not train"
  preempt "has left" "preempted workers did not leave"
  wait $coordinator || fail "the sweep: $(cat out)"
  says "s: 8 trials, over" || fail "the sweep did not end"
  nothing_twice 150 || fail "work was lost"
}

array_programs() {  # they count, and keep where they are; told to stop, they go on elsewhere
  write_sweep 0 1 6 1
  cat > count.sh << 'COUNT'
trap 'exit 75' TERM
at=$(cat "$MUSTER_CHECKPOINT_DIR/at" 2> /dev/null || echo 0)
while [ "$at" -lt 100 ]; do
  sleep 0.1; at=$((at + 1)); echo $at > "$MUSTER_CHECKPOINT_DIR/at"; echo "at $at"
done
echo "acc=$2"
COUNT
  sed -i '/^\[search\]/,$d; /_resource/d; s/max val_accuracy/max acc/' sweep.ini
  printf '[search]\nx = int 1 100\n[trial]\ncommand = sh count.sh\nmetric.acc = acc=([0-9]+)\n' >> sweep.ini
  "$muster" tune sweep.ini --tune.parallel=3 > out 2>&1 &
  local coordinator=$!
  "$muster" submit sweep.ini --workers 0-1 --slots 1 > submitted 2>&1 || fail "submit: $(cat submitted)"
  eventually 240 says "has joined with 1 slots" || fail "no worker has joined"
  sleep 1
  preempt "has left" "preempted workers did not leave"
  wait $coordinator || fail "the sweep: $(cat out)"
  says "s: 6 trials, over" || fail "the sweep did not end"
  grep -q ",failed," sweeps/s/trials.csv && fail "a trial failed: $(cat sweeps/s/trials.csv)"
  for log in sweeps/s/trials/*/log/rank-0.log; do
    [ "$(grep -c "^at " "$log")" = "$(grep "^at " "$log" | sort -u | wc -l)" ] || fail "$log counts twice"
  done
}

start_rig
"$name" || exit 1
echo "passed: $name"
