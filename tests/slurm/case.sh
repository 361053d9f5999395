#!/bin/bash
# One test against a private Slurm: case.sh NAME MUSTER TEST_RANK. Exits 77 (skipped) with a sentence where Slurm is missing.
# TEST_RANK is a rank that counts steps and saves (tests/launcher/test_rank.cc): for who starts, tells, ends and requeues it. Cases that
# compare models train with the muster-rank beside MUSTER.
set -u
name=$1 muster=$2 rank=$3 muster_rank=$(dirname "$2")/muster-rank
here=$(cd "$(dirname "$0")" && pwd)
if why=$("$here/cluster.sh" missing); then echo "skipped: $why"; exit 77; fi

dir=$(mktemp -d /tmp/muster-slurm-XXXXXX)
chmod 755 "$dir"
mkdir -p "$dir/work"
finish() {
  local code=$?
  [ $code -ne 0 ] && { echo "--- what was there:"; tail -n 40 "$dir"/work/runs/*/log/slurm-*.log "$dir"/work/out 2> /dev/null; cat "$dir"/work/runs/*/status.json 2> /dev/null; squeue 2> /dev/null; }
  "$here/cluster.sh" down "$dir/cluster" > /dev/null 2>&1
  [ -z "${KEEP:-}" ] && rm -rf "$dir"
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
says() { grep -qs -- "$1" "$dir"/work/runs/job/log/slurm-*.log; }

cd "$dir/work" || exit 1
unset "${!SLURM_@}" 2> /dev/null
case $name in matrix-*) GRACE=${name##*-} ;; esac
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
# write_real_job EPOCHS [MORE_LINES]: an epoch is 32 steps of some milliseconds each, on two nodes; the last section is [slurm]. Two nodes of one machine share its cores: one thread a rank.
write_real_job() {
  [ -x "$muster_rank" ] || { echo "skipped: this build has no muster-rank"; exit 77; }
  cat > job.ini << JOB
ranks = 2
[data]
format = synthetic
rows = 2048
shape = 16
classes = 4
[model]
kind = mlp
hidden = 256
[train]
epochs = $1
batch_size = 64
threads = 1
[checkpoint]
every_steps = 10
[slurm]
nodes = 2
JOB
  shift
  for line; do echo "$line" >> job.ini; done
}
# The models of run `job` and of one that nobody disturbs are the same files.
same_model_as_undisturbed() {
  salloc -N2 -n2 "$muster" train job.ini --name undisturbed > undisturbed.out 2>&1 || fail "undisturbed: $(cat undisturbed.out)"
  [ "$(ls runs/job/model)" = "$(ls runs/undisturbed/model)" ] || fail "other files: $(ls runs/*/model)"
  for file in runs/undisturbed/model/*; do cmp "$file" "runs/job/model/${file##*/}" || fail "the models differ"; done
}
submit_real() { "$muster" submit job.ini > out 2>&1 || fail "submit: $(cat out)"; id=$(grep -o 'job [0-9]*' out | grep -o '[0-9]*'); }
submit() { "$muster" submit job.ini --rank_program=$dir/work/rank.sh "$@" > out 2>&1 || fail "submit: $(cat out)"; id=$(grep -o 'job [0-9]*' out | grep -o '[0-9]*'); }

in_an_allocation() {
  write_job 40
  salloc -N2 -n2 "$muster" train job.ini --rank_program=$dir/work/rank.sh > out 2>&1 || fail "train: $(cat out)"
  grep -q "2 ranks by srun on 2 nodes of Slurm job" out || fail "no plan: $(cat out)"
  grep -q "finished at step 40" out || fail "rank 0 is not on the console"
  state_is Completed || fail "state $(field state)"
  [ -s runs/job/log/rank-1.log ] || fail "rank 1 left no log"
  salloc -N2 -n2 "$muster" run --name any --ranks 2 -- sh -c 'echo rank $RANK of $WORLD_SIZE' > out 2>&1 || fail "run: $(cat out)"
  grep -q "rank 0 of 2" runs/any/log/rank-0.log && grep -q "rank 1 of 2" runs/any/log/rank-1.log || fail "no places: $(cat runs/any/log/*)"
}

dead_ranks() {  # the real ranks by srun: one is killed, one is stopped, muster is killed; then the same command, and the same bits
  write_real_job 60
  salloc -N2 -n2 "$muster" train job.ini --name job --hang_after=3 > out 2>&1 &
  eventually 60 saved_beyond 20 || fail "it does not train: $(cat out)"
  kill -9 "$(real_rank_on mt2)"
  eventually 60 grep -q "was killed by SIGKILL" out || fail "the killed rank is not named: $(cat out)"
  eventually 60 grep -q "restart 1" out && eventually 60 state_is Training || fail "no restart: $(cat out)"
  kill -STOP "$(real_rank_on mt1)"  # another host: one that fails twice is left out
  eventually 60 grep -q "somebody stopped it (SIGSTOP)" out || fail "the stopped rank is not named: $(cat out)"
  eventually 60 grep -q "restart 2" out && eventually 60 state_is Training || fail "no second restart: $(cat out)"
  kill -9 "$(field pid)"
  eventually 10 no_real_ranks || fail "ranks live on: $(ps -o pid,ppid,args $(real_ranks))"
  wait $!
  salloc -N2 -n2 "$muster" train job.ini --name job > out 2>&1 || fail "again: $(cat out)"
  grep -q "resumed at step" out || fail "it began anew: $(cat out)"
  same_model_as_undisturbed
}
real_ranks() {
  for folder in /proc/[0-9]*; do
    [ "$(readlink "$folder/exe" 2> /dev/null)" = "$muster_rank" ] &&
      tr '\0' ' ' < "$folder/cmdline" 2> /dev/null | grep -qF "$dir/work" && basename "$folder"
  done
}
real_rank_on() { for pid in $(real_ranks); do tr '\0' '\n' < "/proc/$pid/environ" | grep -q "^SLURMD_NODENAME=$1" && echo "$pid"; done; }
no_real_ranks() { [ -z "$(real_ranks)" ]; }

too_few_tasks() {
  write_job 40
  salloc -N1 -n1 "$muster" train job.ini --engine=slurm --rank_program=$dir/work/rank.sh > out 2>&1
  [ $? -eq 64 ] || fail "exit code: $(cat out)"
  grep -q "add --ntasks=2" out || fail "no remedy: $(cat out)"
}

no_memory() {  # the step asks for more than the job has
  write_job 40 "srun = --mem=3000"
  salloc -N2 -n2 --mem=400 "$muster" train job.ini --rank_program=$dir/work/rank.sh > out 2>&1
  [ $? -eq 64 ] || fail "exit code: $(cat out)"
  grep -q "add --mem=0 or a --mem that fits to the srun words" out || fail "no remedy: $(cat out)"
}

submitted() {
  write_job 60
  submit
  timeout 90 "$muster" logs job --follow --rank 1 > followed 2>&1 || fail "logs: $(cat followed)"
  grep -q "finished at step 60" followed || fail "rank 1 was not followed to its end: $(cat followed)"
  eventually 60 state_is Completed || fail "state $(field state)"
  "$muster" ls | grep -q "Completed" || fail "ls: $("$muster" ls)"
  says "finished at step 60" || fail "no log of the job"
  [ "$(field slurm_job)" = "$id" ] || fail "its number is not kept"
}

preempted() {
  write_real_job 60
  submit_real
  eventually 60 saved_beyond 20 || fail "it does not train"
  sbatch -p high -N2 --exclusive --wrap "sleep 2" --output=/dev/null > /dev/null
  eventually 60 says "job: saved at step" || fail "it did not save"
  eventually 150 state_is Completed || fail "state $(field state)"
  saved=$(grep -o "job: saved at step [0-9]*" runs/job/log/slurm-*.log | head -1 | grep -o '[0-9]*$')
  says "resumed at step $saved, restart 1" || fail "saved at $saved, resumed elsewhere"
  same_model_as_undisturbed
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

# The ranks of node mt2, wherever they hang now.
ranks_of_lost_node() {
  for folder in /proc/[0-9]*; do
    tr '\0' '\n' < "$folder/environ" 2> /dev/null | grep -q "^SLURMD_NODENAME=mt2" &&
      tr '\0' ' ' < "$folder/cmdline" 2> /dev/null | grep -qF "$dir/work" && basename "$folder"
  done 2> /dev/null
}
nobody_on_lost_node() { [ -z "$(ranks_of_lost_node)" ]; }

node_loss() {
  write_job 400
  submit
  eventually 60 saved_beyond 20 || fail "it does not train"
  [ -n "$(ranks_of_lost_node)" ] || fail "no rank runs on mt2"
  "$here/cluster.sh" lose "$dir/cluster" mt2
  eventually 20 nobody_on_lost_node || fail "orphans on the lost node: $(ps -o pid,ppid,args $(ranks_of_lost_node))"
  slurmd -N mt2 -f "$SLURM_CONF"
  scontrol update NodeName=mt2 State=RESUME
  eventually 150 state_is Completed || fail "state $(field state)"
  says "restart" || fail "it was not restarted"
}

fewer_ranks() {  # a node dies, the job stays, min_ranks lets it go on with the other
  write_real_job 60 "no-kill = true"
  sed -i 's/^ranks = 2/ranks = 2\nmin_ranks = 1/' job.ini
  submit_real
  eventually 60 saved_beyond 20 || fail "it does not train"
  "$here/cluster.sh" lose "$dir/cluster" mt2
  eventually 150 state_is Completed || fail "state $(field state)"
  says "host mt2 is no longer part of the Slurm job" || fail "the lost node is not named"
  says "going on with 1 rank instead of 2 (min_ranks = 1)" || fail "it does not say that it goes on with fewer"
  says "training 'job' on 1 rank" || fail "it did not"
  [ "$(field restarts)" = 1 ] || fail "restarts: $(field restarts)"
}

excluded() {  # a rank that fails on mt2 every time: after the second time the job asks for other nodes
  write_job 10000
  cat > rank.sh << RANK
#!/bin/sh
export MUSTER_CHECKPOINT_DIR=$dir/work/runs/job/checkpoints
newest=\$(ls \$MUSTER_CHECKPOINT_DIR | grep -v new | sed 's/step-0*//' | sort -n | tail -1)
set --
[ "\$SLURMD_NODENAME" = mt2 ] && set -- --crash-at \$((\${newest:-0} + 30)) --rank \$SLURM_PROCID --how kill
exec $rank --steps 10000 --step-ms 20 \$*
RANK
  submit
  eventually 90 says "host mt2 failed 2 times: leaving it out from now on" || fail "it is not left out"
  eventually 30 says "asking Slurm for other nodes" || fail "it does not ask for others"
  eventually 60 asks_for_others || fail "not requeued without mt2: $(scontrol show job "$id")"
  scancel "$id"
}
asks_for_others() { scontrol show job "$id" | grep -q "ExcNodeList=mt2" && squeue -h -j "$id" -o %T | grep -q PENDING; }

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
  timeout 60 "$muster" logs job --follow --rank 0 > followed 2>&1 &
  follower=$!
  sleep 1
  kill -0 $follower || fail "logs --follow does not wait: $(cat followed)"
  "$muster" stop job | grep -q "cancelled" || fail "stop does not cancel it"
  eventually 30 gone "$id" || fail "it still waits"
  wait $follower || fail "logs --follow did not end: $(cat followed)"
}

# matrix LAUNCH SIGNAL HANDLER: a job is preempted, as users launch it (by muster, srun, or mpirun on one or two nodes), with the form of
# --signal that they write, and ranks that save and leave or that ignore it all. Expected by the facts of Slurm 22.05 and Open MPI 4.1:
# who hears of it in time saves, and what was durable before is never lost; at the end the bits are those of an undisturbed run.
matrix() {
  local launch=$1 signal=$2 handler=$3 nodes=2 before
  [ "$launch" = mpirun1 ] && nodes=1
  matrix_job "$handler"
  matrix_script "$launch" "$signal" "$handler" "$nodes"
  id=$(sbatch --parsable batch.sh) || fail "sbatch"
  eventually 90 saved_beyond 20 || fail "it does not train"
  before=$(newest_step)
  sbatch -p high -N2 --exclusive --wrap "sleep 1" --output=/dev/null > /dev/null
  if [ "$launch$signal" = mpirun2none ] || [ "$launch$signal" = mpirun2USR2 ]; then  # mpirun's daemons die of it: not requeued
    eventually 120 ended "$id" || fail "not ended: $(squeue)"
    if gone "$id"; then echo "not requeued, as mpirun over nodes is: submitted again"; id=$(sbatch --parsable batch.sh); fi
  fi
  eventually 200 grep -q "run ended with 0" batch.log || fail "not finished: $(squeue; tail -n 20 batch.log)"
  resumed=$(grep -oh "resumed at step [0-9]*" batch.log runs/job/log/rank-0.log | grep -o '[0-9]*$' | sort -n | tail -1)
  [ "${resumed:-0}" -ge "$before" ] || fail "step $before was durable, it resumed at ${resumed:-the beginning}"
  if matrix_expects_save "$launch" "$signal" "$handler"; then
    grep -q "saved at step $resumed" batch.log || fail "it did not save and leave before its end"
  fi
  [ "$handler" = ignore ] || same_model_as_undisturbed
}
newest_step() { ls runs/job/checkpoints | sed 's/step-0*//; s/\..*//' | sort -n | tail -1; }
ended() { gone "$1" || [ "$(scontrol show job "$1" | grep -o 'Restarts=[0-9]*')" != Restarts=0 ]; }
matrix_expects_save() {  # who is told in time: srun's ranks always, mpirun's by the batch shell only
  [ "$3" = save ] && case $1$2 in mpirun*none | mpirun*USR2) false ;; esac
}
matrix_job() {
  if [ "$1" = save ]; then
    write_real_job 60
  else
    write_job 2000
    sed -i 's/--steps/--ignore yes --steps/' rank.sh
    # By its name on the command line, as muster-rank takes it.
    echo 'exec '"$dir"'/work/rank.sh' > ignoring.sh; sed -i '1i #!/bin/sh' ignoring.sh; chmod +x ignoring.sh
  fi
}
matrix_script() {
  local launch=$1 signal=$2 handler=$3 nodes=$4 program="$muster_rank job.ini" command
  [ "$handler" = ignore ] && program=$dir/work/ignoring.sh
  case $launch in
    muster) command="$muster train job.ini"; [ "$handler" = ignore ] && command="$command --rank_program=$dir/work/rank.sh" ;;
    srun) command="srun --mpi=pmix --cpu-bind=none $program" ;;
    mpirun*) command="mpirun -np 2 --bind-to none --oversubscribe --allow-run-as-root $program" ;;
  esac
  { echo "#!/bin/bash"
    echo "#SBATCH --job-name=job --nodes=$nodes --ntasks=2 --requeue --open-mode=append --output=$dir/work/batch.log"
    [ "$signal" = none ] || echo "#SBATCH --signal=$signal@60"
    cat << BODY
mkdir -p $dir/work/runs/job/checkpoints
$command &
run=\$!
trap 'again=1; kill -USR1 \$run' USR1
again=1
while [ \$again ]; do again=; wait \$run; code=\$?; done
echo "run ended with \$code"
[ \$code -eq 75 ] && scontrol requeue \$SLURM_JOB_ID
[ \$code -eq 76 ] && sleep 600  # not saved: Slurm requeues what it ends itself
exit \$code
BODY
  } > batch.sh
}

case $name in
  matrix-*) IFS=- read -r _ launch signal handler _ <<< "$name"; matrix "$launch" "$signal" "$handler" || exit 1 ;;
  *) "$name" || exit 1 ;;
esac
echo "passed: $name"
