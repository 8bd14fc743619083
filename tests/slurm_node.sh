#!/usr/bin/env bash
# Start a node of a private Slurm of several: slurm_node.sh DIR NODE, as root. Its hostname is NODE; its processes see no
# others, and none of other nodes. To kill all of them, as a power cut does: kill -KILL $(cat DIR/NODE.pid)
set -euo pipefail
dir=$(realpath "$1") node=$2
export SLURM_CONF=$dir/slurm.conf dir node
(cat /etc/hosts; grep -o '^NodeName=\S*' "$dir/slurm.conf" | sed 's/NodeName=/127.0.0.1 /') > "$dir/$node.hosts"
# the shell is the namespace's first process, which slurmd is not made for, and dies with unshare
setsid unshare --uts --pid --fork --kill-child --mount-proc bash -c '
  hostname "$node" && mount --bind "$dir/$node.hosts" /etc/hosts && mkdir -p "$dir/spool/$node"
  slurmd -D -N "$node" & wait $!' </dev/null >>"$dir/$node.out" 2>&1 & echo $! >"$dir/$node.pid"
