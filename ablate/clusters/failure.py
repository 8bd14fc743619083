"""The kinds of failure of a stage, and how a failure is stored in failure.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Optional

from ablate.store import index
from ablate.store.record import read_json
from ablate.store.run import RunFolder

NAME = index.FAILURE
EXCEPTION, MEMORY, TIME, PREEMPTED, NODE = "exception", "out of memory", "time-out", "preempted", "node failure"
CANCELLED_PENDING, CANCELLED_RUNNING, KILLED, LOST = (
    "cancelled while pending",
    "cancelled while running",
    "killed",
    "lost",
)
AGAIN, WITHDRAWN = FORGIVEN = index.FORGIVEN
PRUNED = "reads what was pruned meanwhile"  # why a stage is to be run again
LACKING = "reads what was pruned, and no stage of this sweep makes that again; its log says what"
NEVER, FORGOTTEN = "can never start", "forgotten by Slurm"


@dataclass(frozen=True)
class Failure:
    """What went wrong, as a kind and as one line, in which job, and which logs show it."""

    kind: str
    why: str
    job: Optional[str]
    logs: tuple[str, ...] = ()
    by: str = ""
    """Sweep whose command cancelled it, if one did."""
    tries: int = 0
    """Number of failures of the stage, this one included, since a command last reset them."""

    def __str__(self) -> str:
        return self.kind if self.kind == self.why else f"{self.kind}: {self.why}"


def read(run: RunFolder) -> Optional[Failure]:
    """Return a stage's failure; None if there is none, or if it has a result after all."""
    path = run.path / NAME
    if not path.exists() or run.done:
        return None
    said = read_json(path)
    return Failure(**said | {"logs": tuple(said["logs"])})


def write(run: RunFolder, failure: Failure, forget: bool = False) -> None:
    """Store a failure, replacing an earlier one; it counts while its job is the stage's latest. Earlier failures are
    counted, unless `forget`.
    """
    before = None if forget or failure.kind == WITHDRAWN else read(run)
    known = before is not None and before.kind not in FORGIVEN and before.job == failure.job  # by a command beside
    tries = (before.tries if before else 0) + (failure.kind not in FORGIVEN and not known)
    run.note(NAME, asdict(replace(failure, tries=tries)))
