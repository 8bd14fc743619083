"""What a Slurm job asks for: `resources` of the sweep, on top of a cluster's profile, in submitit's words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablate.errors import UserError, nearest

RESOURCES = {  # ours -> submitit's; "" are ours alone
    "mem_gb": "mem",
    "cpus": "cpus_per_task",
    "gpus": "gpus_per_node",
    "timeout_min": "time",
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "constraint": "constraint",
    "parallelism": "array_parallelism",
    "setup": "setup",
    "tasks": "ntasks_per_node",
    "nodes": "nodes",  # processes of one run, on each of this many nodes
    "pack_min": "",  # minutes that a task of several short stages is to last
    "gpu_gb": "",
    "gpu_tflops": "",  # memory of a GPU, and what it sustains, for checks and estimates
    "poll_s": "",
    "profile": "",
}
COLLECT = "collect"  # the job that `--detach` leaves behind, as a kind of its own
DEFAULTS = {"mem_gb": 4, "cpus": 1, "timeout_min": 120}


class Resources:
    """What a sweep asks for, on top of the YAML file that its `profile` names.

    `kinds` are the kinds of stages there are, and whether stages of a kind train: only those run as several processes.
    Where no job `asks` for any, what is given counts for nothing. Raises UserError for a profile that is not there or
    no mapping, and for unknown names.
    """

    def __init__(self, given: Mapping[str, Any], kinds: Mapping[str, bool], asks: bool = True) -> None:
        self.all, self.kinds, self.asks = _with_profile(given) if asks else {}, kinds, asks
        for name, value in self.all.items():
            valid = [*kinds, COLLECT] if isinstance(value, Mapping) else RESOURCES
            if name not in valid:
                raise UserError(f"Unknown resource '{name}'; {nearest(name, [*RESOURCES, *kinds])}")

    def get(self, name: str, default: Any) -> Any:
        """What is asked for, for all kinds."""
        return self.all.get(name, default)

    def wanted(self, kind: str) -> dict[str, Any]:
        """Return what a stage kind wants, in our words: plain entries hold for all kinds, mappings for the kind they
        name.

        Raises UserError for an unknown resource, and for several processes of a kind that has no use for them.
        """
        own, trains = self.all.get(kind, {}), self.kinds.get(kind, False)
        for name in own:
            if name not in RESOURCES:
                raise UserError(f"Unknown resource '{name}' of '{kind}'; {nearest(name, RESOURCES)}")
            if name in ("tasks", "nodes") and not trains:
                able = " and ".join(name for name, trains in self.kinds.items() if trains)
                raise UserError(f"resources.{kind}.{name}: only {able} run as several processes.")
        shared = {k: v for k, v in self.all.items() if not isinstance(v, Mapping)}
        if not trains:
            shared = {k: v for k, v in shared.items() if k not in ("tasks", "nodes")}
        return {**DEFAULTS, **shared, **own}

    def for_submitit(self, kind: str) -> dict[str, Any]:
        """Return submitit's parameters for a stage kind. Raises UserError as `wanted` does."""
        wants = self.wanted(kind)
        wants["mem_gb"] = f"{wants['mem_gb']}GB" if wants["mem_gb"] % 1 == 0 else f"{wants['mem_gb'] * 1024:.0f}MB"
        asked = {RESOURCES[name]: value for name, value in wants.items() if RESOURCES[name]}
        # how long before the end of its time a job is told to save; Slurm may be a minute early
        return {**asked, "signal_delay_s": int(min(90, 15 * wants["timeout_min"]))}

    def seconds_of_task(self, kind: str) -> float:
        """Return how long a task of several stages is to last; 0 when each is to have its own."""
        wants = self.wanted(kind)
        if wants.get("tasks", 1) * wants.get("nodes", 1) > 1:
            return 0.0
        return 60.0 * min(wants.get("pack_min", 10), wants["timeout_min"] / 2)


def _with_profile(given: Mapping[str, Any]) -> dict[str, Any]:
    """Put what is given on top of what the file called `profile` says."""
    resources = dict(given)
    if "profile" not in resources:
        return resources
    import yaml

    path = Path(str(resources.pop("profile")))
    if not path.is_file():
        there = [one.name for one in path.parent.glob("[!.]*.yaml")]
        raise UserError(f"resources.profile: no file '{path}'; {nearest(path.name, there)}")
    profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(profile, dict):
        raise UserError(f"{path}: expected a mapping of resources, such as 'partition: gpu'.")
    for name, value in profile.items():
        mine = resources.get(name)
        resources[name] = (
            {**value, **mine} if isinstance(value, dict) and isinstance(mine, Mapping) else resources.get(name, value)
        )
    return resources
