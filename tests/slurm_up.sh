#!/usr/bin/env bash
# Start a private Slurm of one node for tests, without accounting: slurm_up.sh DIR PORT [CPUS]
# Then: export SLURM_CONF=DIR/slurm.conf. To stop it: kill $(cat DIR/ctld.pid DIR/d.pid)
# Needs slurm-wlm and munge; nothing outside DIR is touched but munge's own socket, when root has to start munge.
set -euo pipefail
dir=$(realpath -m "$1") port=$2 cpus=${3:-4} me=$(id -un) host=$(hostname -s)
mkdir -p "$dir"/{state,spool}
if ! munge -n >/dev/null 2>&1; then
  mkdir -p /run/munge && chown munge:munge /run/munge && su -s /bin/sh munge -c munged
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
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/ctld.run
SlurmdPidFile=$dir/d.run
SlurmctldLogFile=$dir/ctld.log
SlurmdLogFile=$dir/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
ReturnToService=2
JobRequeue=1
KillWait=2
MaxArraySize=4
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
NodeName=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$cpus RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=polite Nodes=$host MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=10
PartitionName=evict Nodes=$host MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=high Nodes=$host MaxTime=INFINITE State=UP PriorityTier=10
CONF
export SLURM_CONF=$dir/slurm.conf
slurmctld -D >"$dir/ctld.out" 2>&1 & echo $! >"$dir/ctld.pid"
sleep 0.3
slurmd -D -N "$host" >"$dir/d.out" 2>&1 & echo $! >"$dir/d.pid"
for _ in $(seq 200); do
  if sinfo -h -o %T 2>/dev/null | grep -q idle; then exit 0; fi
  sleep 0.1
done
tail -3 "$dir"/*.log "$dir"/*.out >&2
exit 1
