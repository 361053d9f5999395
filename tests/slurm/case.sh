#!/bin/bash
# One test against a private Slurm: case.sh NAME MUSTER TEST_RANK MODEL. Exits 77 (skipped) with a sentence where Slurm is missing.
# TEST_RANK is a rank that counts steps and saves (tests/launcher/test_rank.cc): for who starts, tells, ends and requeues it. Cases that
# compare what was trained use the muster-rank beside MUSTER and the shared object MODEL (paced_model.cc).
name=$1 muster=$2 rank=$3 model=$4 muster_rank=$(dirname "$2")/muster-rank
. "$(dirname "$0")/rig.sh"
what_was_there() { tail -n 40 runs/*/log/*.log out 2> /dev/null; cat runs/*/status.json 2> /dev/null; }
start_rig

field() { python3 -c "import json,sys; print(json.load(open('$dir/work/runs/job/status.json')).get('$1'))" 2> /dev/null; }
state_is() { [ "$(field state)" = "$1" ]; }
saved_beyond() { [ "$(newest_step runs/job)" -gt "$1" ]; }
says() { grep -qs -- "$1" runs/job/log/slurm-*.log; }
# Slurm has closed job $1 as $2, and never let it run a second time.
closed_as() { gone "$1" && job_says "$1" "JobState=$2" && job_says "$1" Restarts=0; }

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
# write_real_job [SLURM_LINES]: trains 1920 steps of at least 10 ms on two nodes.
write_real_job() {
  [ -x "$muster_rank" ] || { echo "skipped: this build has no muster-rank"; exit 77; }
  export PACED_MODEL_MS=10
  { printf 'ranks = 2\n[slurm]\nnodes = 2\n'; for line; do echo "$line"; done; paced_training "$model" 60; } > job.ini
}
# The models of run `job` and of one that nobody disturbs are the same files.
same_model_as_undisturbed() {
  train_undisturbed "$muster" job.ini || fail "undisturbed: $(cat undisturbed.out)"
  same_model runs/undisturbed/model runs/job/model || fail "the models differ"
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
  write_real_job
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
# Processes whose command line names this test's folder; those of node $1.
processes_here() { grep -lsF "$dir/work" /proc/[0-9]*/cmdline | cut -d/ -f3; }
processes_on() { for pid in $(processes_here); do grep -qsz "^SLURMD_NODENAME=$1\$" "/proc/$pid/environ" && echo "$pid"; done; }
# Those of them that run the program $1, on node $2 where it is given.
processes_of() {
  for pid in $([ $# -lt 2 ] && processes_here || processes_on "$2"); do
    [ "$(readlink "/proc/$pid/exe" 2> /dev/null)" = "$1" ] && echo "$pid"
  done
}
real_ranks() { processes_of "$muster_rank"; }
real_rank_on() { processes_of "$muster_rank" "$1"; }
no_real_ranks() { [ -z "$(real_ranks)" ]; }

dead_attendant() {  # nobody is left on a node who could tell how its rank ended
  write_real_job
  salloc -N2 -n2 "$muster" train job.ini --name job > out 2>&1 &
  eventually 60 saved_beyond 20 || fail "it does not train: $(cat out)"
  kill -9 $(processes_of "$(readlink -f "$muster")" mt2)
  eventually 120 grep -q "restart 1" out || fail "no restart: $(cat out)"
  eventually 120 state_is Completed || fail "state $(field state): $(cat out)"
  wait $!
  grep -q "error: rank" out || fail "nobody is named: $(cat out)"
  same_model_as_undisturbed
}

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
  write_real_job
  submit_real
  eventually 60 saved_beyond 20 || fail "it does not train"
  take_both_nodes "$dir/work/enough" > /dev/null
  eventually 60 says "job: saved at step" || fail "it did not save"
  touch enough
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
  eventually 60 closed_as "$id" CANCELLED || fail "a cancelled job came back: $(scontrol show job "$id")"
}

stopped() {
  write_job 100000
  submit
  eventually 60 saved_beyond 20 || fail "it does not train"
  "$muster" stop job --wait || fail "stop"
  eventually 60 closed_as "$id" FAILED || fail "a stopped job came back: $(scontrol show job "$id")"
  state_is Stopped || fail "state $(field state)"
  [ "$(field exit_code)" = 77 ] && job_says "$id" ExitCode=77:0 || fail "exit code $(field exit_code), $(scontrol show job "$id")"
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

# Of node mt2, wherever they hang now.
ranks_of_lost_node() { processes_on mt2; }
somebody_on_lost_node() { [ -n "$(ranks_of_lost_node)" ]; }
nobody_on_lost_node() { [ -z "$(ranks_of_lost_node)" ]; }

node_loss() {
  write_job 1500
  submit
  eventually 60 saved_beyond 20 || fail "it does not train"
  eventually 30 somebody_on_lost_node || fail "no rank runs on mt2"
  "$here/cluster.sh" lose "$dir/cluster" mt2
  eventually 20 nobody_on_lost_node || fail "orphans on the lost node: $(ps -o pid,ppid,args $(ranks_of_lost_node))"
  slurmd -N mt2 -f "$SLURM_CONF"
  scontrol update NodeName=mt2 State=RESUME
  eventually 150 state_is Completed || fail "state $(field state)"
  says "restart" || fail "it was not restarted"
}

fewer_ranks() {  # a node dies, the job stays, min_ranks lets it go on with the other
  write_real_job "no-kill = true"
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
set --
[ "\$SLURMD_NODENAME" = mt2 ] && set -- --crash-after 30 --rank \$SLURM_PROCID --how kill
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

array() {  # two runs from one script: each has its name, its log and its place in the queue, and comes back on its own
  write_real_job
  "$muster" submit job.ini --array 0-1 > out 2>&1 || fail "submit: $(cat out)"
  for run in job-0 job-1; do
    "$muster" ls | grep -qE "$run .*(Pending|Starting|Training)" || fail "ls: $("$muster" ls)"
    eventually 90 array_saved "$run" || fail "$run does not train: $(cat runs/job/log/*)"
  done
  take_both_nodes "$dir/work/enough" > /dev/null
  for run in job-0 job-1; do eventually 60 array_says "$run" "saved at step" || fail "$run did not save"; done
  touch enough
  for run in job-0 job-1; do
    eventually 200 array_says "$run" "finished after" || fail "$run did not end: $(cat "runs/$run/status.json")"
    array_says "$run" "resumed at step .*, restart 1" || fail "$run was not resumed: $(cat runs/job/log/*)"
    eventually 20 ls_says "$run .*Completed" || fail "ls: $("$muster" ls)"
  done
  train_undisturbed "$muster" job.ini || fail "undisturbed: $(cat undisturbed.out)"
  for run in job-0 job-1; do same_model runs/undisturbed/model "runs/$run/model" || fail "the model of $run differs"; done
}
ls_says() { "$muster" ls | grep -q "$1"; }
array_saved() { [ "$(newest_step "runs/$1")" -gt 20 ]; }
array_says() { cat runs/job/log/slurm-*_"${1#job-}".log "runs/$1/log/rank-0.log" 2> /dev/null | grep -q -- "$2"; }

waiting() {
  write_job 100
  take_both_nodes "$dir/never" > /dev/null
  submit
  "$muster" ls | grep -q Pending || fail "ls: $("$muster" ls)"
  timeout 120 "$muster" logs job --follow --rank 0 > followed 2>&1 &
  follower=$!
  eventually 20 grep -q "waits in Slurm's queue" followed || fail "logs --follow does not wait: $(cat followed)"
  "$muster" stop job | grep -q "cancelled" || fail "stop does not cancel it"
  eventually 30 gone "$id" || fail "it still waits"
  wait $follower || fail "logs --follow did not end: $(cat followed)"
}

"$name" || exit 1
echo "passed: $name"
