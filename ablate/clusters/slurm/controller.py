"""Ask Slurm: what this cluster allows, which of my jobs wait or run, how a job ended. Standard library only."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

from ablate.errors import UserError

NEVER = "DependencyNeverSatisfied"


@dataclass(frozen=True)
class Queued:
    """A job in the queue, as squeue shows it."""

    state: str  # PENDING, RUNNING, COMPLETING, ...
    reason: str
    name: str


def here() -> bool:
    """Whether there is a cluster to ask."""
    return shutil.which("squeue") is not None and bool(limits()[0])


def limits() -> tuple[str, int]:
    """Return the cluster's name, and how many tasks an array may have: indices stop at MaxArraySize - 1."""
    said = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True).stdout
    settings = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in said.splitlines())}
    return settings.get("ClusterName", ""), max(1, int(settings.get("MaxArraySize", 1001)))


def queue() -> dict[str, Queued]:
    """Return my jobs that wait or run, by id. Raises UserError when squeue keeps failing."""
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i|%T|%r|%j"]
    for wait in (2, 10, 30, 60, 0):
        said = subprocess.run(command, capture_output=True, text=True)
        if said.returncode == 0:
            lines = (line.strip().split("|", 3) for line in said.stdout.splitlines())
            return {line[0]: Queued(*line[1:]) for line in lines if len(line) == 4}
        time.sleep(wait)  # the controller is busy or restarting
    raise UserError(f"squeue fails: {said.stderr.strip()} Jobs go on; run the same command again to watch them.")


def ended(jobs: Iterable[str]) -> dict[str, str]:
    """Return the last state of jobs that left the queue, as far as accounting or the controller remembers them."""
    jobs = set(jobs)
    arrays = sorted({job.partition("_")[0] for job in jobs})
    for command in (
        ["sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", ",".join(arrays)],
        [
            "squeue",
            "--me",
            "--states=all",
            "--array",
            "--noheader",
            "--format=%i|%T",
        ],  # for MinJobAge, without accounting
    ):
        try:
            said = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            continue
        states = dict(line.strip().split("|", 1) for line in said.stdout.splitlines() if "|" in line)
        if said.returncode == 0 and any(job.partition("_")[0] in arrays for job in states):
            return {job: state.split()[0].rstrip("+") for job, state in states.items() if job in jobs and state}
    return {}


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs; those that ended meanwhile are left alone."""
    jobs = sorted(jobs)
    for first in range(0, len(jobs), 500):
        subprocess.run(["scancel", *jobs[first : first + 500]], capture_output=True)


def release(job: str, dependency: str) -> str:
    """Make a held or pending job wait for something else; returns what Slurm has against it."""
    for command in (["update", f"jobid={job}", f"dependency={dependency}"], ["release", job]):
        said = subprocess.run(["scontrol", *command], capture_output=True, text=True)
        if said.returncode:
            return said.stderr.strip()
    return ""
