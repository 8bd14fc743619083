"""Different sweeps of one name under one root: while one runs, another is refused, and told how to rename itself."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ablate.clusters.cluster import AbstractCluster
from ablate.errors import UserError
from ablate.planning.since import apart
from ablate.store import driver
from ablate.store.record import sweep_path
from ablate.store.stage import Plan, digest_on_disk

Asked = Callable[[], Iterable[AbstractCluster]]  # clusters that may have jobs that run the sweep's command again later


@contextlib.contextmanager
def alone(plan: Plan, asked: Asked) -> Iterator[None]:
    """Keep commands with another plan off a sweep within this context; commands with the same plan share it.

    Raises UserError if a command with another plan runs, or waits as a job.
    """
    try:
        with driver.holding(sweep_path(Path(plan.root), plan.name), plan.digest):
            if job := _waiting(plan, asked):
                raise UserError(_refusal(plan, f"is left to {job}", apart(plan, Path(plan.root))))
            yield
    except driver.Taken as taken:
        raise UserError(_refusal(plan, _runs(taken.by), _differs(plan, taken.by))) from None


def others(plan: Plan, asked: Asked = tuple) -> list[str]:
    """Return a note if a sweep of this name with another plan runs, or waits as a job; else an empty list."""
    if there := driver.others(sweep_path(Path(plan.root), plan.name), plan.digest):
        who, differs = _runs(there[0]), _differs(plan, there[0])
    elif job := _waiting(plan, asked):
        who, differs = f"is left to {job}", apart(plan, Path(plan.root))
    else:
        return []
    return [f"note: Another '{plan.name}' {who}; this one differs from it: {differs}."]


def _waiting(plan: Plan, asked: Asked) -> str:
    """Return how users see the job that will continue another plan of this name; empty if there is none."""
    if digest_on_disk(plan.root, plan.name) in ("", plan.digest):  # jobs belong to the plan that is on disk
        return ""
    return next((job for cluster in asked() for job in cluster.collectors()), "")


def _runs(by: Mapping[str, Any]) -> str:
    if by["pid"] is None:
        return "is being started just now"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(by["began"]))
    job = f" (job {by['job']})" if by["job"] else ""
    return f"is run by process {by['pid']} on {by['host']}{job} since {since}"


def _differs(plan: Plan, by: Mapping[str, Any]) -> str:
    """Say in a few words how a plan differs from a running one, if that one has written its plan already."""
    written = digest_on_disk(plan.root, plan.name) == by.get("plan")
    return apart(plan, Path(plan.root)) if written else "other rows or settings"


def _refusal(plan: Plan, who: str, differs: str) -> str:
    names = (f"{plan.name}-{number}" for number in itertools.count(2))
    free = next(name for name in names if not sweep_path(Path(plan.root), name).exists())
    return (
        f"Another '{plan.name}' {who}, and this one differs from it: {differs}; add name={free} to run both, "
        "or wait until that one has ended."
    )
