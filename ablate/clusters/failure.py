"""What a failure of a stage is called, and how it is kept in failure.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Optional

from ablate.store.record import read_json
from ablate.store.run import RunFolder

NAME = "failure.json"
EXCEPTION, MEMORY, TIME, PREEMPTED, NODE = "exception", "out of memory", "time-out", "preempted", "node failure"
CANCELLED_PENDING, CANCELLED_RUNNING, KILLED, LOST = (
    "cancelled while pending",
    "cancelled while running",
    "killed",
    "lost",
)
NEVER, FORGOTTEN = "can never start", "forgotten by Slurm"
AGAIN, WITHDRAWN = "to be run again", "cancelled by --cancel"
FORGIVEN = (AGAIN, WITHDRAWN)  # no failures to the next command


@dataclass(frozen=True)
class Failure:
    """What went wrong, in one word and in one line, in which job, and which logs tell."""

    kind: str
    why: str
    job: Optional[str]
    logs: tuple[str, ...] = ()
    by: str = ""
    """Sweep whose command cancelled it, if one did."""

    def __str__(self) -> str:
        return self.kind if self.kind == self.why else f"{self.kind}: {self.why}"


def read(run: RunFolder) -> Optional[Failure]:
    """Return a stage's failure, None when there is none (or it has a result after all)."""
    path = run.path / NAME
    if not path.exists() or run.done:
        return None
    said = read_json(path)
    return Failure(said["kind"], said["why"], said["job"], tuple(said["logs"]), said.get("by", ""))


def write(run: RunFolder, failure: Failure) -> None:
    """Keep a failure, in place of an earlier one; it counts while its job is the stage's latest."""
    run.note(NAME, asdict(failure))
