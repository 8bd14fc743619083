"""Why a stage failed, from its exit status, its logs and what Slurm reports."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ablate.clusters.failure import (
    CANCELLED_PENDING,
    CANCELLED_RUNNING,
    EXCEPTION,
    KILLED,
    LOST,
    MEMORY,
    NODE,
    PREEMPTED,
    TIME,
    Failure,
)
from ablate.clusters.local import DISK_CODE, exit_text
from ablate.store import disk
from ablate.store.lock import read_lock
from ablate.store.record import read_jsonl
from ablate.store.run import RunFolder

STATES = {  # Slurm's state -> our kind; FAILED, CANCELLED and COMPLETED are too unspecific
    "OUT_OF_MEMORY": MEMORY,
    "TIMEOUT": TIME,
    "DEADLINE": TIME,
    "PREEMPTED": PREEMPTED,
    "NODE_FAIL": NODE,
    "BOOT_FAIL": NODE,
}
SAID = {  # pattern in a log -> kind
    r"out of memory|OutOfMemoryError|MemoryError|bad_alloc|oom[-_]kill"
    r"|Exceeded job memory limit|can't allocate memory": MEMORY,
    r"DUE TO TIME LIMIT": TIME,
    r"DUE TO PREEMPTION": PREEMPTED,
    r"DUE TO NODE FAILURE": NODE,
    r"\*\*\* (JOB|STEP) \S+ ON \S+ CANCELLED AT \S+ \*\*\*": CANCELLED_RUNNING,
}
LOWER = {
    "pretrain": "lower pretrain.update, or cut it into more shards (pretrain.update.shards)",
    "finetune": "lower the task's items",
}


def logs_of(run: RunFolder, slurm_log: Optional[Path]) -> tuple[str, ...]:
    """The logs of a stage that exist: its own, those of its other ranks, and that of its Slurm job."""
    paths = [run.path / "logs" / "out.txt", *sorted((run.path / "logs").glob("rank*.txt"))]
    return tuple(str(path) for path in [*paths, *([slurm_log] if slurm_log else [])] if path.exists())


def of_exit(run: RunFolder, job: Optional[str], code: int, slurm_log: Optional[Path]) -> Failure:
    """The failure of a stage whose process ended with this exit status."""
    logs = logs_of(run, slurm_log)
    said, last = _said(logs)
    if code == -signal.SIGKILL:
        return Failure(MEMORY, "killed by SIGKILL, most likely because memory ran out", job, logs)
    if said == MEMORY:
        return Failure(MEMORY, last, job, logs)
    if code < 0:
        return Failure(KILLED, f"killed by {signal.Signals(-code).name}", job, logs)
    told = last if code == 1 or code - DISK_CODE in disk.WHY else ""
    return Failure(EXCEPTION, told or exit_text(code, run.path), job, logs)


def of_job(run: RunFolder, job: str, state: Optional[str], slurm_log: Optional[Path]) -> Failure:
    """The failure of a stage whose job left the queue without a result, in `state` if Slurm remembers one."""
    logs, begun = logs_of(run, slurm_log), started(run, job)
    own = [str(slurm_log)] if slurm_log and slurm_log.exists() and slurm_log.stat().st_size else []
    said, last = _said(logs if begun else own)  # a job may end before it starts the stage
    kind = STATES.get(state or "")
    if kind is None and state == "CANCELLED":
        kind = CANCELLED_RUNNING if begun or own else CANCELLED_PENDING
    if kind is None:
        kind = said or (KILLED if begun else None)
    if kind is None:  # Slurm forgets at once a pending task that is cancelled out of an array
        kind = CANCELLED_PENDING if "_" in job and state is None else LOST
    why = {
        MEMORY: last,
        KILLED: f"job {job} ended without a message",
        LOST: f"job {job} {f'ended before it started the stage: {last}' if last else 'left the queue without a trace'}",
    }.get(kind, f"job {job}")
    return Failure(kind, why, job, logs)


def started(run: RunFolder, job: str) -> bool:
    """Whether this job ever started the stage."""
    attempts = read_jsonl(run.path / "attempts.jsonl")
    return (read_lock(run.path) or {}).get("job") == job or any(attempt.get("job") == job for attempt in attempts)


def advice(failure: Failure, kind: str, tried: bool) -> Failure:
    """Add advice to a final memory failure; `tried` says whether activation checkpointing was tried."""
    lower = LOWER.get(kind)
    how = "with activation checkpointing too" if tried else "its encoder has no activation checkpointing"
    text = f"{failure.why}; " + (f"{how}: {lower}, or " if lower else "")
    return Failure(
        failure.kind, f"{text}raise resources.{kind}.mem_gb (or take GPUs with more)", failure.job, failure.logs
    )


def _said(logs: Sequence[str]) -> tuple[Optional[str], str]:
    """What the ends of logs say: the kind of failure whose pattern matches, and the matching line; without a match, the
    last line of the first log.
    """
    ends = []
    for log in logs:
        with open(log, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 5000))
            ends.append([line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()])
    for pattern, kind in SAID.items():
        for lines in ends:
            for line in reversed(lines[-30:]):
                if re.search(pattern, line, re.IGNORECASE):
                    return kind, line[:200]
    return None, next((lines[-1][:200] for lines in ends if lines), "")
