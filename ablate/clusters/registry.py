"""The clusters by the name that `cluster=` says."""

from __future__ import annotations

from ablate.clusters.cluster import AbstractCluster
from ablate.clusters.debug import Debug
from ablate.clusters.local import Local
from ablate.clusters.slurm.cluster import Slurm
from ablate.errors import UserError, nearest

CLUSTERS: dict[str, type[AbstractCluster]] = {"local": Local, "debug": Debug, "slurm": Slurm}


def named(name: str) -> type[AbstractCluster]:
    """The cluster of a name. Raises UserError with the nearest one."""
    if name not in CLUSTERS:
        raise UserError(f"Unknown cluster '{name}'; {nearest(name, CLUSTERS)}")
    return CLUSTERS[name]
