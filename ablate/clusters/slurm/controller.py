"""Ask Slurm what this cluster allows, which of my jobs wait or run, and how a job ended. Standard library only.

A missing or incomplete answer raises `Silent`, and the caller then decides nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

NEVER = "DependencyNeverSatisfied"
UNLAUNCHED = "launch failed requeued held"  # its node could not start it, and Slurm holds it for an operator
PATIENCE = 300.0  # seconds to wait for one answer
KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")  # they select the cluster
GONE = ("invalid job id", "job/step already completing or completed")  # reply to cancelling a job that is over
Answer = TypeVar("Answer")
_stop: Callable[[], int] = lambda: 0  # noqa: E731  see `heed`


class Silent(Exception):
    """Slurm did not answer, or not completely; the message says to which command, and what it said instead."""


@dataclass(frozen=True)
class Queued:
    """A job in the queue, as squeue shows it."""

    state: str  # PENDING, RUNNING, COMPLETING, ...
    reason: str
    submitted: float
    """Submission time in seconds since the epoch by the controller's clock; for a requeued job, the requeue time."""
    comment: str
    name: str


def environment() -> dict[str, str]:
    """This process's environment without what Slurm tells a job about itself and without defaults of squeue and sacct:
    inside a job these would change what is submitted and queried.
    """
    foreign = ("SLURM_", "SUBMITIT_", "SQUEUE_", "SACCT_", "SCANCEL_")
    return {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(foreign)}


def heed(stop: Callable[[], int]) -> None:
    """Give up waiting for an answer when `stop()` says that the user has asked to stop."""
    global _stop
    _stop = stop


def _said(*command: str) -> str:
    """Return what a command prints. Raises Silent if it fails or takes longer than `PATIENCE`, or if the user has asked
    to stop.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=environment()
    ) as process:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                out, err = process.communicate(timeout=0.5)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() > end or _stop():
                    process.kill()
                    raise Silent(f"{command[0]} has not answered") from None
    if process.returncode:
        raise Silent(f"{command[0]}: {err.strip() or f'exit status {process.returncode}'}")
    return out


def here() -> bool:
    """Whether there is a Slurm cluster that answers."""
    if shutil.which("squeue") is None:
        return False
    try:
        return bool(limits()[0])
    except Silent:
        return False


def limits() -> tuple[str, int]:
    """Return the cluster's name and the largest array size: indices go up to MaxArraySize - 1."""
    settings = _settings()
    if not settings.get("ClusterName") or "MaxArraySize" not in settings:
        raise Silent("scontrol show config: no ClusterName or MaxArraySize in its answer")
    return settings["ClusterName"], max(1, int(settings["MaxArraySize"]))


def booted() -> float:
    """Return when the controller was started, in seconds since the epoch by its clock."""
    return _seconds(_settings().get("BOOT_TIME", ""))


def _settings() -> dict[str, str]:
    said = _said("scontrol", "show", "config")
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in said.splitlines())}


def queue(name: str = "") -> dict[str, Queued]:
    """Return my jobs that wait or run, or everybody's with this name, by id; reasons are in the older spelling, without
    underscores.
    """
    whose = f"--name={name}" if name else "--me"
    lines = _table(5, "squeue", whose, "--array", "--noheader", "--format=%i|%T|%r|%V|%k|%j")
    return {
        job: Queued(state, reason.replace("_", " "), _seconds(when), *rest) for job, state, reason, when, *rest in lines
    }


def _seconds(when: str) -> float:
    """Convert a time from Slurm to seconds since the epoch; 0 if it is not a time."""
    try:
        return time.mktime(time.strptime(when, "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return 0.0


def ended(jobs: Iterable[str]) -> dict[str, str]:
    """Return the last state of jobs that left the queue, if accounting or the controller still knows it."""
    jobs = set(jobs)
    arrays = sorted({job.partition("_")[0] for job in jobs})
    states: dict[str, str] = {}
    away: Silent | None = None  # accounting does not answer, but may come back
    if shutil.which("sacct") is not None:
        try:
            states = dict(_table(1, "sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", ",".join(arrays)))
        except Silent as why:  # without accounting sacct always fails, but the controller remembers jobs for MinJobAge
            away = None if "disabled" in str(why).lower() else why
    if not any(job.partition("_")[0] in arrays for job in states):
        states = dict(_table(1, "squeue", "--me", "--states=all", "--array", "--noheader", "--format=%i|%T"))
    if away and not jobs <= states.keys():
        raise away
    return {job: state.split()[0].rstrip("+") for job, state in states.items() if job in jobs and state}


def _table(bars: int, *command: str) -> list[list[str]]:
    """The lines of an answer, each split at `bars` bars. Raises Silent if a line is incomplete.

    A line that does not begin with a job continues the line before, whose comment or name has a line break.
    """
    said, whole = _said(*command), []
    for line in filter(str.strip, said.split("\n")):
        if whole and not re.match(r"\s*\d+[\d_+.\[\]%,-]*\|", line):
            whole[-1] += f" {line}"
        else:
            whole.append(line)
    lines = [line.strip().split("|", bars) for line in whole]
    if any(len(line) != bars + 1 for line in lines) or (said and not said.endswith("\n")):
        raise Silent(f"{command[0]}: its answer is cut off or garbled")
    return lines


def cancel(jobs: Iterable[str]) -> None:
    """Cancel jobs; those that ended meanwhile are ignored. Raises Silent if Slurm may not have received it."""
    jobs = sorted(jobs)
    for first in range(0, len(jobs), 500):
        try:
            _said("scancel", *jobs[first : first + 500])
        except Silent as why:
            if not any(over in str(why).lower() for over in GONE):
                raise


def release(job: str, dependency: str) -> None:
    """Make a held or pending job depend on `dependency`; if Slurm no longer knows that, delay the job by ten minutes.
    Raises Silent if it may not have received it.
    """
    try:
        _said("scontrol", "update", f"jobid={job}", f"dependency={dependency}")
    except Silent as why:
        if "dependency problem" not in str(why).lower():
            raise
        _said("scontrol", "update", f"jobid={job}", "StartTime=now+10minutes")
    _said("scontrol", "release", job)


class Outage:
    """Prints once a minute since when Slurm has not answered."""

    def __init__(self) -> None:
        self.began: float | None = None
        self._told = 0.0

    def tell(self, why: Exception) -> None:
        """Record a question that was not answered."""
        now = time.time()
        self.began = now if self.began is None else self.began
        if now - self._told >= 60:
            self._told = now
            since = time.strftime("%H:%M:%S", time.localtime(self.began))
            print(f"Slurm has not answered since {since} ({why}). Waiting; jobs go on.", file=sys.stderr, flush=True)

    def over(self) -> None:
        """Record an answer."""
        if self.began is not None:
            print(f"Slurm answers again, after {time.time() - self.began:.0f} s.", file=sys.stderr, flush=True)
        self.began, self._told = None, 0.0


def patiently(ask: Callable[[], Answer], stop: Callable[[], int] | None = None) -> Answer:
    """Ask until Slurm answers, saying once a minute that it does not. Raises KeyboardInterrupt when told to `stop`; by
    default the function given to `heed` is used.
    """
    stop = stop or _stop
    outage, wait = Outage(), 1.0
    while True:
        try:
            answer = ask()
        except Silent as why:
            outage.tell(why)
        else:
            outage.over()
            return answer
        end = time.monotonic() + wait
        while time.monotonic() < end:
            if stop():
                raise KeyboardInterrupt
            time.sleep(0.2)
        wait = min(30.0, 2 * wait)
