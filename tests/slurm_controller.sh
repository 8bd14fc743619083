#!/usr/bin/env bash
# Start the slurmctld of a private Slurm: slurm_controller.sh DIR. It goes on from the state in DIR.
# To kill it: kill -KILL $(cat DIR/ctld.pid)
set -euo pipefail
dir=$(realpath "$1")
export SLURM_CONF=$dir/slurm.conf
setsid slurmctld -D </dev/null >>"$dir/ctld.out" 2>&1 & echo $! >"$dir/ctld.pid"
