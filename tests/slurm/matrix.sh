#!/bin/bash
# What becomes of a job that is preempted, for every way to launch it (by muster, srun, or mpirun on one or two nodes), every form of --signal
# in its script, ranks that save and leave or that hear nothing, and grace times of 0, 5 and 20 s. A cell is LAUNCH-SIGNAL-HANDLER-GRACE.
#   matrix.sh wave GRACE MUSTER MODEL RESULTS   runs the 24 cells of a grace time at once on one private Slurm; RESULTS/CELL tells of each.
#                                               CELLS, a pattern, chooses among them
#   matrix.sh cell CELL RESULTS                 passes where that cell did
# Expected by the facts of Slurm 22.05 and Open MPI 4.1: who hears of it in time saves and leaves; what was durable before is never lost;
# Slurm brings all of them back but those whose mpirun spans nodes and is told by nobody: its daemons die of the signal, and the job with them.
# In the end each has the model, bit for bit, of a run that nobody disturbed.
command=$1
[ $# -ge 3 ] || { sed -n '2,9p' "$0"; exit 64; }
if [ "$command" = cell ]; then
  cat "$3/$2"
  case $(head -c 7 "$3/$2") in passed:) exit 0 ;; skipped) exit 77 ;; *) exit 1 ;; esac
fi
grace=$2 muster=$3 model=$4 results=$5 muster_rank=$(dirname "$3")/muster-rank
. "$(dirname "$0")/rig.sh"
what_was_there() { tail -n 1 */batch.log; }

all_cells() {
  for launch in muster srun mpirun1 mpirun2; do for signal in none B:USR1 USR2; do for handler in save ignore; do
    case $launch-$signal-$handler-$grace in ${CELLS:-*}) echo "$launch-$signal-$handler-$grace" ;; esac
  done; done; done
}
read_cell() { IFS=- read -r launch signal handler _ <<< "$1"; }

# The script that a user of $launch would write; where the ranks are started by hand, it leaves the requeueing to itself (after 75) and Slurm.
write_script() {
  local cell=$1 nodes=2 command
  [ "$launch" = mpirun1 ] && nodes=1
  case $launch in
    muster) command="$muster train job.ini" ;;
    srun) command="srun --mpi=pmix --cpu-bind=none $muster_rank job.ini" ;;
    mpirun*) command="mpirun -np 2 --bind-to none --oversubscribe --allow-run-as-root $muster_rank job.ini" ;;
  esac
  # Our nodes are not called as their host is, so mpirun would start a daemon by srun even on its own node.
  [ "$launch" = mpirun1 ] && command=${command/mpirun/mpirun --mca ras ^slurm --mca plm ^slurm}
  echo "#!/bin/bash"
  echo "#SBATCH --job-name=$cell --partition=$partition --nodes=$nodes --ntasks=2 --requeue --open-mode=append --chdir=$PWD --output=$PWD/batch.log"
  [ "$signal" = none ] || echo "#SBATCH --signal=$signal@60"
  cat << BODY
export PACED_MODEL_MS=40
[ "$handler" = ignore ] && export PACED_MODEL_DEAF=1
$command --train.epochs=\$(cat $dir/work/epochs) &
run=\$!
trap 'again=1; kill -USR1 \$run' USR1
again=1
while [ \$again ]; do again=; wait \$run; code=\$?; done
echo "run ended with \$code"
[ \$code -eq 75 ] && scontrol requeue \$SLURM_JOB_ID
[ \$code -eq 76 ] && sleep 600  # not saved: Slurm requeues what it ends itself
exit \$code
BODY
}

submit_cell() {
  mkdir -p "$1"
  read_cell "$1"
  ( cd "$1"; { echo "ranks = 2"; paced_training "$model" 1; } > job.ini; write_script "$1" > batch.sh )
  id_of[$1]=$(sbatch --parsable "$1/batch.sh") || fail "sbatch refuses $1"
}

everyone() { local cell; for cell in $cells; do "$1" "$cell" "${@:2}" || { late=$cell; return 1; }; done; }
cell_saved() {
  [ "$(newest_step "$1/runs/job")" -ge 20 ] && return 0
  ! gone "${id_of[$1]}" || fail "$1 ended before it trained: $(cat "$1/batch.log")"
  return 1
}
cell_is_over() { grep -qs "run ended with 0" "$1/batch.log"; }
running() { [ "$(squeue -h -j "$1" -o %T)" = RUNNING ]; }

# Who is told in time that the job will end: srun's ranks always; mpirun's by a batch shell that is told, or by its daemons on other nodes,
# which pass USR2 on.
hears_in_time() {
  [ "$handler" = save ] && [ "$grace" != 0 ] || return 1
  case $launch-$signal in mpirun?-none | mpirun1-USR2) return 1 ;; esac
}
# Those daemons are a step of the job: they die of the TERM that its ranks get at the start of the grace.
dies_of_the_signal() { [ "$launch-$signal" = mpirun2-none ] && [ "$grace" != 0 ]; }

# After the preemption, before anything is back: is it in the queue again? What Slurm has closed is submitted once more, as a user would.
take_stock() {
  local cell=$1
  read_cell "$cell"
  if [ "$(squeue -h -j "${id_of[$cell]}" -o %T)" != PENDING ]; then
    dies_of_the_signal || back[$cell]="not requeued: $(scontrol show job "${id_of[$cell]}" | grep -o 'JobState=[A-Z_]*')"
    cell_is_over "$cell" && back[$cell]="it ended before it was preempted"
    id_of[$cell]=$(sbatch --parsable "$cell/batch.sh")
    how[$cell]="submitted again"
  fi
  saved[$cell]=$(newest_step "$cell/runs/job")
}

judge() {
  local cell=$1 resumed
  read_cell "$cell"
  resumed=$(grep -oh "resumed at step [0-9]*" "$cell/batch.log" "$cell/runs/job/log/rank-0.log" 2> /dev/null | grep -o '[0-9]*$' | sort -n | tail -1)
  [ -z "${back[$cell]:-}" ] || { echo "FAILED: ${back[$cell]}"; return; }
  cell_is_over "$cell" || { echo "FAILED: it did not come to its end"; return; }
  [ "${resumed:-0}" -ge "${before[$cell]}" ] || { echo "FAILED: step ${before[$cell]} was durable, it resumed at ${resumed:-the beginning}"; return; }
  if hears_in_time && ! cat "$cell/batch.log" "$cell/runs/job/log/rank-0.log" 2> /dev/null | grep -q "saved at step $resumed"; then
    echo "FAILED: it was told, and did not save and leave: resumed at step $resumed"; return
  fi
  same_model undisturbed/model "$cell/runs/job/model" > differs 2>&1 || { echo "FAILED: other bits: $(cat differs)"; return; }
  echo "passed: ${how[$cell]:-requeued}, durable step ${before[$cell]} before the preemption, resumed at $resumed, same bits"
}

tell() {
  local cell=$1
  judge "$cell" > "$results/$cell"
  if ! grep -q ^passed "$results/$cell"; then
    { tail -n 40 "$cell/batch.log"; tail -n 30 "$cell"/runs/job/log/*; cat "$cell/runs/job/status.json"; scontrol show job "${id_of[$cell]}"; } >> "$results/$cell" 2>&1
  fi
  printf '%-28s %s\n' "$cell" "$(head -n 1 "$results/$cell")"
}

wave() {
  declare -A id_of before back how saved
  local cells cell high most=0
  cells=$(all_cells)
  mkdir -p "$results"
  for cell in $cells; do echo "FAILED: the wave did not get so far" > "$results/$cell"; done
  if why=$("$here/cluster.sh" missing) || why=$(no_rank); then
    for cell in $cells; do echo "skipped: $why" > "$results/$cell"; done
    echo "skipped: $why"; exit 77
  fi
  results=$(realpath "$results")
  start_rig
  partition=low$grace; [ "$grace" = 20 ] && partition=low
  echo 1000000 > epochs  # until they are preempted there is no end
  for cell in $cells; do submit_cell "$cell"; done
  eventually 240 everyone cell_saved || fail "$late does not train: $(cat "$late/batch.log")"
  echo "$SECONDS s: all train"
  for cell in $cells; do before[$cell]=$(newest_step "$cell/runs/job"); done
  high=$(take_both_nodes "$dir/work/enough")
  eventually 150 running "$high" || fail "not all were ended: $(squeue)"
  echo "$SECONDS s: all are ended"
  for cell in $cells; do
    take_stock "$cell"
    [ "${saved[$cell]}" -gt "$most" ] && most=${saved[$cell]}
  done
  echo $((most / 32 + 2)) > epochs
  touch enough
  cp "${cells%%$'\n'*}/job.ini" job.ini
  train_undisturbed "$muster" job.ini "--train.epochs=$(cat epochs)" || fail "undisturbed: $(cat undisturbed.out)"
  mkdir undisturbed && mv runs/undisturbed/model undisturbed/
  eventually 240 everyone cell_is_over || echo "$SECONDS s: $late and maybe others have not ended"
  echo "$SECONDS s"
  for cell in $cells; do tell "$cell"; done
}
no_rank() { [ ! -x "$muster_rank" ] && echo "this build has no muster-rank"; }

wave
