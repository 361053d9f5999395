#!/bin/bash
# A private Slurm of two nodes on this machine, from Debian's packages, without systemd and beside any other Slurm.
#   cluster.sh up DIR           starts it below DIR; DIR/slurm.conf is then what SLURM_CONF must name. A job of partition `high` preempts
#                               those of `low`, which get 20 s of grace, and those of `low5` and `low0`
#   cluster.sh down DIR         ends it
#   cluster.sh lose DIR NODE    kills a node's daemon and all its steps, and marks it down
# Needs root (Slurm's daemons do) and: apt-get install slurmctld slurmd slurm-client munge
set -u

missing() {
  for program in slurmctld slurmd srun munged; do
    command -v $program > /dev/null || { echo "there is no $program: apt-get install slurmctld slurmd slurm-client munge"; return 0; }
  done
  [ "$(id -u)" = 0 ] || { echo "Slurm's daemons need root"; return 0; }
  return 1
}

# Three in a row that nobody listens on, below those that the kernel gives away.
free_ports() {
  local base
  while true; do
    base=$((10000 + RANDOM % 20000))
    for port in $base $((base + 1)) $((base + 2)); do
      if (exec 3<> /dev/tcp/127.0.0.1/$port) 2> /dev/null; then continue 2; fi
    done
    echo $base
    return
  done
}

start_munge() {
  local dir=$1
  mkdir -p "$dir/munge"
  dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 2> /dev/null
  chmod 755 "$dir"
  chown -R munge "$dir/munge"
  chmod 700 "$dir/munge"; chmod 600 "$dir/munge/key"
  mkdir -p "$dir/socket"; chown munge "$dir/socket"; chmod 755 "$dir/socket"
  runuser -u munge -- "$(command -v munged)" --force --key-file="$dir/munge/key" --socket="$dir/socket/munge" \
    --log-file="$dir/munge/log" --pid-file="$dir/munge/pid" --seed-file="$dir/munge/seed"
}

write_configuration() {
  local dir=$1 base=$2 host
  host=$(hostname -s)
  mkdir -p "$dir"/{state,spool.mt1,spool.mt2,tmp.mt1,tmp.mt2}
  cat > "$dir/slurm.conf" << CONF
ClusterName=muster
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/socket/munge,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
# Two nodes of one job must not meet in one folder: PMIx would trip over it.
TmpFS=$dir/tmp.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=sched_interval=2,bf_interval=5
SlurmdTimeout=300
KillWait=5
MpiDefault=none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
NodeName=mt[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=$((base + 1))-$((base + 2)) CPUs=32 RealMemory=32000
PartitionName=low Nodes=mt[1-2] Default=YES PriorityTier=1 GraceTime=20 PreemptMode=REQUEUE DefMemPerCPU=100
PartitionName=low5 Nodes=mt[1-2] PriorityTier=1 GraceTime=5 PreemptMode=REQUEUE DefMemPerCPU=100
PartitionName=low0 Nodes=mt[1-2] PriorityTier=1 GraceTime=0 PreemptMode=REQUEUE DefMemPerCPU=100
PartitionName=high Nodes=mt[1-2] PriorityTier=10 PreemptMode=OFF DefMemPerCPU=100
CONF
}

up() {
  local dir=$1
  mkdir -p "$dir"
  dir=$(realpath "$dir")
  start_munge "$dir" || return 1
  (
    flock 9  # two rigs that start at once must not choose the same ports
    write_configuration "$dir" "$(free_ports)"
    export SLURM_CONF=$dir/slurm.conf
    slurmctld -f "$SLURM_CONF" 9>&- && slurmd -N mt1 -f "$SLURM_CONF" 9>&- && slurmd -N mt2 -f "$SLURM_CONF" 9>&- && listening "$SLURM_CONF"
  ) 9> /tmp/muster-slurm.lock || { tail -5 "$dir"/*.log; return 1; }
  export SLURM_CONF=$dir/slurm.conf
  for _ in $(seq 300); do
    [ "$(sinfo -h -p low -t idle -o %D 2> /dev/null)" = 2 ] && return 0
    sleep 0.1
  done
  echo "the nodes did not come up within 30 s:"; sinfo; tail -5 "$dir"/*.log
  return 1
}

listening() {
  for _ in $(seq 300); do
    scontrol ping 2> /dev/null | grep -q "is UP" && return 0
    sleep 0.1
  done
  echo "the controller does not answer"; return 1
}

# Every process whose command line or environment names the cluster's configuration: daemons and their steps.
processes_of() {
  local dir=$1 node=$2
  for folder in /proc/[0-9]*; do
    if tr '\0' ' ' < "$folder/cmdline" 2> /dev/null | grep -qE "slurmstepd|slurmd" &&
       tr '\0' '\n' < "$folder/environ" 2> /dev/null | grep -q "SLURM_CONF=$dir/slurm.conf" &&
       { [ -z "$node" ] || tr '\0' ' ' < "$folder/cmdline" | grep -q -- "-N $node" || ls -l "$folder/fd" 2> /dev/null | grep -q "slurmd.$node.log\|spool.$node"; }; then
      basename "$folder"
    fi
  done 2> /dev/null  # processes come and go while we look
}

lose() {
  local dir node=$2
  dir=$(realpath "$1")
  export SLURM_CONF=$dir/slurm.conf
  kill -9 $(processes_of "$dir" "$node") 2> /dev/null
  scontrol update NodeName="$node" State=DOWN Reason="lost in a test"
}

down() {
  local dir
  dir=$(realpath "$1")
  export SLURM_CONF=$dir/slurm.conf
  for job in $(squeue -h -o %i 2> /dev/null); do scancel "$job"; done
  for _ in $(seq 100); do [ -z "$(squeue -h 2> /dev/null)" ] && break; sleep 0.1; done
  for pid in "$dir"/slurmctld.pid "$dir"/slurmd.*.pid "$dir"/munge/pid; do
    [ -s "$pid" ] && kill "$(cat "$pid")" 2> /dev/null
  done
  for _ in $(seq 100); do [ -z "$(processes_of "$dir" "")" ] && break; sleep 0.1; done
  kill -9 $(processes_of "$dir" "") 2> /dev/null
  return 0
}

case ${1:-} in
  up | down | lose) command=$1; shift; "$command" "$@" ;;
  missing) missing ;;
  *) sed -n '2,7p' "$0"; exit 64 ;;
esac
