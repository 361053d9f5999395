#!/bin/bash
# One test against a private Slurm: case.sh NAME MUSTER RANK_PROGRAM. Exits 77 (skipped) with a sentence where Slurm is missing.
# RANK_PROGRAM is a rank that counts steps and saves (tests/launcher/test_rank.cc): what is tested is who starts, tells, ends and requeues it.
set -u
name=$1 muster=$2 rank=$3
here=$(cd "$(dirname "$0")" && pwd)
if why=$("$here/cluster.sh" missing); then echo "skipped: $why"; exit 77; fi

dir=$(mktemp -d /tmp/muster-slurm-XXXXXX)
chmod 755 "$dir"
mkdir -p "$dir/work"
finish() {
  local code=$?
  [ $code -ne 0 ] && { echo "--- what was there:"; tail -n 40 "$dir"/work/runs/*/log/slurm-*.log "$dir"/work/out 2> /dev/null; cat "$dir"/work/runs/*/status.json 2> /dev/null; squeue 2> /dev/null; }
  "$here/cluster.sh" down "$dir/cluster" > /dev/null 2>&1
  rm -rf "$dir"
  exit $code
}
trap finish EXIT
fail() { echo "FAILED: $*"; exit 1; }

# eventually SECONDS COMMAND: until it succeeds.
eventually() {
  local until=$((SECONDS + $1)); shift
  until "$@"; do [ $SECONDS -ge $until ] && return 1; sleep 0.2; done
}
field() { python3 -c "import json,sys; print(json.load(open('$dir/work/runs/job/status.json')).get('$1'))" 2> /dev/null; }
state_is() { [ "$(field state)" = "$1" ]; }
step_beyond() { [ "$(field step)" -gt "$1" ] 2> /dev/null; }
saved_beyond() { [ "$(ls "$dir/work/runs/job/checkpoints" 2> /dev/null | sed 's/step-0*//' | sort -n | tail -1)" -gt "$1" ] 2> /dev/null; }
gone() { [ -z "$(squeue -h -j "$1" -o %T 2> /dev/null)" ]; }
says() { grep -q -- "$1" "$dir"/work/runs/job/log/slurm-*.log; }

cd "$dir/work" || exit 1
unset "${!SLURM_@}" 2> /dev/null
"$here/cluster.sh" up "$dir/cluster" "${GRACE:-20}" || fail "the cluster did not start"
export SLURM_CONF=$dir/cluster/slurm.conf

# write_job STEPS [MORE_SLURM_LINES]: a job of two ranks on two nodes whose rank program counts to STEPS.
write_job() {
  cat > rank.sh << RANK
#!/bin/sh
export MUSTER_CHECKPOINT_DIR=$dir/work/runs/job/checkpoints
exec $rank --steps $1 --step-ms 20
RANK
  chmod +x rank.sh
  { echo "ranks = 2"; echo "[slurm]"; echo "nodes = 2"; shift; for line; do echo "$line"; done; } > job.ini
}
submit() { "$muster" submit job.ini --rank_program=$dir/work/rank.sh "$@" > out 2>&1 || fail "submit: $(cat out)"; id=$(grep -o 'job [0-9]*' out | grep -o '[0-9]*'); }

in_an_allocation() {
  write_job 40
  salloc -N2 -n2 "$muster" train job.ini --rank_program=$dir/work/rank.sh > out 2>&1 || fail "train: $(cat out)"
  grep -q "2 ranks by srun on 2 nodes of Slurm job" out || fail "no plan: $(cat out)"
  grep -q "finished at step 40" out || fail "rank 0 is not on the console"
  state_is Completed || fail "state $(field state)"
  [ -s runs/job/log/rank-1.log ] || fail "rank 1 left no log"
}

too_few_tasks() {
  write_job 40
  salloc -N1 -n1 "$muster" train job.ini --engine=slurm --rank_program=$dir/work/rank.sh > out 2>&1
  [ $? -eq 64 ] || fail "exit code: $(cat out)"
  grep -q "add --ntasks=2" out || fail "no remedy: $(cat out)"
}

submitted() {
  write_job 60
  submit
  eventually 60 state_is Completed || fail "state $(field state)"
  "$muster" ls | grep -q "Completed" || fail "ls: $("$muster" ls)"
  says "finished at step 60" || fail "no log of the job"
  [ "$(field slurm_job)" = "$id" ] || fail "its number is not kept"
}

preempted() {
  write_job 700
  submit
  eventually 60 saved_beyond 20 || fail "it does not train"
  sbatch -p high -N2 --exclusive --wrap "sleep 2" --output=/dev/null > /dev/null
  eventually 60 says "saved at step" || fail "it did not save"
  eventually 150 state_is Completed || fail "state $(field state)"
  says "restart 1" || fail "it does not say that it was restarted"
  [ "$(ls runs/job/checkpoints | tail -1)" = step-00000700 ] || fail "it did not count to its end"
  saved=$(grep -o "saved at step [0-9]*" runs/job/log/slurm-*.log | head -1 | grep -o '[0-9]*$')
  says "resumed at step $saved" || fail "saved at $saved, resumed elsewhere"
}

cancelled() {
  write_job 100000
  submit
  eventually 60 saved_beyond 20 || fail "it does not train"
  scancel "$id"
  eventually 60 gone "$id" || fail "it is still there: $(squeue)"
  sleep 12  # requeued jobs come back after about 8 s here
  gone "$id" || fail "a cancelled job came back"
}

stopped() {
  write_job 100000
  submit
  eventually 60 saved_beyond 20 || fail "it does not train"
  "$muster" stop job --wait || fail "stop"
  eventually 60 gone "$id" || fail "it is still there"
  state_is Stopped || fail "state $(field state)"
  [ "$(field exit_code)" = 77 ] || fail "exit code $(field exit_code)"
  sleep 12
  gone "$id" || fail "a stopped job came back"
}

interrupted() {
  write_job 100000
  salloc -N2 -n2 "$muster" train job.ini --rank_program=$dir/work/rank.sh > out 2>&1 &
  eventually 60 saved_beyond 20 || fail "it does not train: $(cat out)"
  kill -INT "$(field pid)"
  eventually 60 state_is Stopped || fail "state $(field state)"
  wait $!
  [ "$(field exit_code)" = 77 ] || fail "exit code $(field exit_code)"
}

node_loss() {
  write_job 400
  submit
  eventually 60 saved_beyond 20 || fail "it does not train"
  "$here/cluster.sh" lose "$dir/cluster" mt2
  eventually 60 test -z "$(pgrep -f "$dir/work/rank.sh.*lost")" || true
  SLURM_CONF=$SLURM_CONF slurmd -N mt2 -f "$SLURM_CONF"
  scontrol update NodeName=mt2 State=RESUME
  eventually 150 state_is Completed || fail "state $(field state)"
  says "restart" || fail "it was not restarted"
}

time_limit() {
  write_job 3500 "time = 1" "signal = B:USR1@20"
  submit
  eventually 90 says "saved at step" || fail "it did not save before its limit"
  eventually 150 state_is Completed || fail "state $(field state)"
  says "restart 1" || fail "it was not requeued"
}

waiting() {
  write_job 100
  sbatch -p high -N2 --exclusive --wrap "sleep 100" --output=/dev/null > /dev/null
  submit
  "$muster" ls | grep -q Pending || fail "ls: $("$muster" ls)"
  "$muster" stop job | grep -q "cancelled" || fail "stop does not cancel it"
  eventually 30 gone "$id" || fail "it still waits"
}

"$name" || exit 1
echo "passed: $name"
