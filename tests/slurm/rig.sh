# What the scripts of tests on a private Slurm share; sourced by them. `start_rig` starts the cluster of cluster.sh below a directory of
# its own, goes to its folder `work`, and takes all of it down when the script ends. Skips (77) with a sentence where Slurm is missing.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

start_rig() {
  local why
  if why=$("$here/cluster.sh" missing); then echo "skipped: $why"; exit 77; fi
  dir=$(mktemp -d /tmp/muster-slurm-XXXXXX)
  chmod 755 "$dir"
  mkdir -p "$dir/work"
  trap end_rig EXIT
  trap 'exit 143' TERM INT
  cd "$dir/work" || exit 1
  unset "${!SLURM_@}" 2> /dev/null
  "$here/cluster.sh" up "$dir/cluster" || fail "the cluster did not start"
  export SLURM_CONF=$dir/cluster/slurm.conf
}

# `what_was_there`, a function of the script, shows what helps to understand a failure.
end_rig() {
  local code=$?
  if [ $code -ne 0 ] && [ $code -ne 77 ]; then echo "--- what was there:"; what_was_there; squeue; fi 2> /dev/null
  "$here/cluster.sh" down "$dir/cluster" > /dev/null 2>&1
  [ -z "${KEEP:-}" ] && rm -rf "$dir"
  exit $code
}

fail() { echo "FAILED: $*"; exit 1; }

# eventually SECONDS COMMAND: until it succeeds.
eventually() {
  local until=$((SECONDS + $1)); shift
  until "$@"; do [ $SECONDS -ge $until ] && return 1; sleep 0.2; done
}

# What the controller says of a job: job_says ID WORD, such as "JobState=CANCELLED".
job_says() { scontrol show job "$1" 2> /dev/null | grep -qE "(^| )$2( |$)"; }
# Nobody of it is left, on any node.
gone() { [ -z "$(squeue -h -j "$1" -o %T 2> /dev/null)" ]; }
# A job of higher priority takes both nodes until the file `$1` is there.
take_both_nodes() { sbatch --parsable -p high -N2 --exclusive --wrap "until [ -e '$1' ]; do sleep 0.2; done" --output=/dev/null; }
# The newest checkpoint of the run in directory $1: its step, 0 when there is none.
newest_step() {
  local newest
  newest=$(ls "$1/checkpoints" 2> /dev/null | grep -E '^step-[0-9.]+$' | sed 's/step-0*//; s/\..*//' | sort -n | tail -1)
  echo "${newest:-0}"
}

# paced_training MODEL EPOCHS: the lines of a job file that trains it, 32 steps an epoch, a checkpoint every 10.
paced_training() {
  cat << JOB
[data]
format = synthetic
rows = 2048
shape = 16
classes = 4
[model]
kind = plugin:$1
[train]
epochs = $2
batch_size = 64
threads = 1
save = hdf5
[checkpoint]
every_steps = 10
JOB
}
# train_undisturbed MUSTER JOB.ini [OPTION...]: the same two ranks on this machine, without pauses, as run `undisturbed`.
train_undisturbed() {
  local muster=$1 job=$2; shift 2
  env -u PACED_MODEL_MS -u PACED_MODEL_DEAF "$muster" train "$job" --engine=local --ranks=2 --name=undisturbed "$@" > undisturbed.out 2>&1
}
# The same files with the same bytes in two folders.
same_model() {
  local file
  [ -n "$(ls "$1")" ] && [ "$(ls "$1")" = "$(ls "$2")" ] || { echo "other files: $(ls "$1" "$2")"; return 1; }
  for file in "$1"/*; do cmp "$file" "$2/${file##*/}" || return 1; done
}
