#!/usr/bin/env bash
# Start a private Slurm for tests, without accounting: slurm_up.sh DIR PORT [CPUS] [NODES]
# Then: export SLURM_CONF=DIR/slurm.conf. To stop it: kill $(cat DIR/*.pid). It uses ports from PORT to PORT + NODES.
# With one node, that is this host. With more (as root), they are n1, n2, ..., of CPUS each, in namespaces of their own:
# see slurm_node.sh, which starts one again after kill -KILL $(cat DIR/n1.pid); TERM is no signal to such a node.
# slurm_controller.sh starts slurmctld again.
# In the environment, by Slurm's names and optional: MinJobAge, SlurmdTimeout, KillWait, BatchStartTimeout, MessageTimeout.
# Needs slurm-wlm and munge; nothing outside DIR is touched but munge's own socket, when root has to start munge.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
dir=$(realpath -m "$1") port=$2 cpus=${3:-4} count=${4:-1} me=$(id -un) host=$(hostname -s)
mkdir -p "$dir"/{state,spool}
if ! munge -n >/dev/null 2>&1; then
  mkdir -p /run/munge && chown munge:munge /run/munge && su -s /bin/sh munge -c munged
fi
nodes=$host of= # of several slurmds each has files of its own
if [ "$count" -gt 1 ]; then
  nodes=$(seq -s, -f 'n%.0f' "$count") of=.%n
fi
cat > "$dir/slurm.conf" <<CONF
ClusterName=ablate
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
SlurmUser=$me
SlurmdUser=$me
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool${of:+/%n}
SlurmctldPidFile=$dir/ctld.run
SlurmdPidFile=$dir/d$of.run
SlurmctldLogFile=$dir/ctld.log
SlurmdLogFile=$dir/d$of.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
JobRequeue=1
KillWait=${KillWait:-2}
MaxArraySize=4
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
CONF
for name in MinJobAge SlurmdTimeout BatchStartTimeout MessageTimeout; do
  if [ -n "${!name:-}" ]; then echo "$name=${!name}" >> "$dir/slurm.conf"; fi
done
at=$port
for node in ${nodes//,/ }; do
  at=$((at + 1))
  echo "NodeName=$node NodeHostname=$node NodeAddr=127.0.0.1 Port=$at CPUs=$cpus RealMemory=16000 State=UNKNOWN"
done >> "$dir/slurm.conf"
cat >> "$dir/slurm.conf" <<CONF
PartitionName=main Nodes=$nodes Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=polite Nodes=$nodes MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=evict Nodes=$nodes MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=high Nodes=$nodes MaxTime=INFINITE State=UP PriorityTier=10
CONF
export SLURM_CONF=$dir/slurm.conf
"$here/slurm_controller.sh" "$dir"
sleep 0.3
if [ "$count" -gt 1 ]; then
  for node in ${nodes//,/ }; do "$here/slurm_node.sh" "$dir" "$node"; done
else
  slurmd -D -N "$host" >"$dir/d.out" 2>&1 & echo $! >"$dir/d.pid"
fi
for _ in $(seq 200); do
  if [ "$(sinfo -h -N -p main -o %T 2>/dev/null | grep -c '^idle$')" = "$count" ]; then exit 0; fi
  sleep 0.1
done
tail -3 "$dir"/*.log "$dir"/*.out >&2
exit 1
