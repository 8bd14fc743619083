"""What a cluster is: something that runs the stages of a board. To add a kind, derive a class from `AbstractCluster` or
`ablate.clusters.pool.AbstractPool`, and add a line to `ablate.clusters.registry`.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Optional

from ablate.clusters.remaining import Remaining
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import RUNNING, Board, cores, crowded
from ablate.errors import UserError

LATER = 3  # exit status of the command when its cluster takes no more jobs for now

Show = Callable[[Board], None]  # called several times a second with the current board


@dataclass(frozen=True)
class Program:
    """The functions that a process calls to run stages. Clusters know them by name only."""

    execute: str
    """"module:function" of (stage id, root), which runs one stage to its end."""
    preload: str = ""
    """Module to import beforehand, once for all stages that run one after another in a process or are forked
    from it.
    """
    main: str = ""
    """"module:function" of a list of arguments: the command itself, for a job that runs it again."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of a process that runs a stage."""

    def run(self, id: str, root: Path) -> None:
        """Run a stage to its end in this process. Raises what `execute` does."""
        os.environ.update(self.environment)
        function_named(self.execute)(id, root)


def function_named(name: str) -> Callable[..., Any]:
    """Import the function that "module:function" names."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


class AbstractCluster(ABC):
    """Runs the stages of a board.

    The command makes one from the board of the wanted stages, the sweep's name, the resources of its jobs, the program
    that runs a stage, and the number of stages that the user allows to run at a time (None if not given). Making one
    must be cheap and start nothing: it may only serve to show a plan. Then the command calls one of `preview`, `look`,
    `cancel`, and `run` or, in its place, `detach`. It calls `retry` before the last two if the user asks for it, and
    `parting` after them.

    A kind defines how stages are started (`submit`) and how it learns that they ended (`follow`). Everything else has
    defaults that suit stages which end with the command. A kind whose stages outlive the command, as jobs, must also
    define `look`, `cancel`, `detach` and `parting`.

    A cluster need not know what a stage does: `program.execute` takes a stage's id and the root, finds everything else
    on disk, may be killed at any time, and resumes from there. `ablate.clusters.pool.run_here` says what it raises.
    """

    about: ClassVar[str] = ""
    """Where stages run, in a few words, for `--help`; each kind defines it."""
    asks: ClassVar[bool] = False
    """Whether its jobs ask for resources; if not, those of the sweep are ignored."""
    outlives: ClassVar[bool] = False
    """Whether stages continue, as jobs, when the command ends."""
    counts_cores: ClassVar[bool] = False
    """Whether `workers` are cores of this machine, so that their use can be added up."""
    advice: ClassVar[str] = "run the same command again"
    """What to do after the cause of a failure is fixed."""

    def __init__(
        self, board: Board, name: str, resources: Resources, program: Program, workers: Optional[int] = None
    ) -> None:
        self.board, self.name, self.resources, self.program = board, name, resources, program
        self.workers = workers or self.most_workers()
        self.stops: Callable[[], int] = lambda: 0
        """How often the user has asked to stop so far."""

    # Every kind must define these -----------------------------------------------------------------------------------

    @abstractmethod
    def submit(self) -> None:
        """Start stages of the board, or hand them over, as many as there is room for. Set the state of each: RUNNING
        if it runs, QUEUED if it waits for another machine.

        It is called repeatedly until the user asks to stop, so it must be fast when there is nothing to do. Raises
        UserError for stages that can never run.
        """

    @abstractmethod
    def follow(self) -> None:
        """Wait for news, one second at most, and set the state of stages that ended: DONE only if the stage's folder
        (`board.folders`) is done; FAILED, with the reason; STOPPED if the user asked for it; ELSEWHERE if another
        process runs it.
        """

    # With defaults --------------------------------------------------------------------------------------------------

    def run(self, show: Show, stops: Callable[[], int]) -> None:
        """Run all stages, or until the user has asked to stop and every running stage that ends with the
        command ended.
        """
        self.stops, asked = stops, 0
        while True:
            if stops() > asked:
                asked = stops()
                self.stop(kill=asked > 1)
            if not asked:
                self.submit()
            self.follow()
            show(self.board)
            if self.board.ended or (stops() and (self.outlives or not self.board.count(RUNNING))):
                return

    def stop(self, kill: bool) -> None:
        """Ask running stages to save and stop, or kill them; `follow` then says how they ended. Called once each time
        the user asks to stop. Stages that outlive the command are left alone.
        """
        return None

    def most_workers(self) -> int:
        """Number of stages that run at a time unless the user gives one: one per core of this machine."""
        return cores()

    @cached_property
    def remaining(self) -> Remaining:
        """The estimate of the time left."""
        slower = crowded(self.workers) if self.counts_cores else 1.0
        return Remaining(self.board, self.workers, slower, queues=self.outlives)

    @property
    def free(self) -> int:
        """Number of further stages that may be started now."""
        return max(0, self.workers - self.board.count(RUNNING))

    def preview(self) -> str:
        """Describe what would be handed over; empty if nothing would. Submits nothing."""
        return ""

    def retry(self) -> None:
        """Forget failures of earlier commands."""
        return None

    # Kinds whose stages outlive the command must define these -------------------------------------------------------

    @classmethod
    def left_at(cls, root: Path) -> bool:
        """Whether an earlier command may have left jobs of this kind of cluster that write under this root."""
        return False

    def look(self) -> None:
        """Bring the board up to date with jobs of earlier commands, and change nothing else."""
        return None

    def collectors(self) -> list[str]:
        """List the jobs, waiting or running, that `detach` left to run this sweep's command again, such as "job 12
        (pending)", whichever command left them; the job of this process is excluded. While there are any, another plan
        under the sweep's name is refused.
        """
        return []

    def cancel(self, whole: bool) -> int:
        """Cancel the jobs of this sweep or, unless `whole`, only those of stages on the board; return their number.
        Raises UserError.
        """
        raise UserError("There is nothing to cancel: stages end with the command.")

    def detach(self, show: Show, stops: Callable[[], int], arguments: list[str]) -> None:
        """Hand over what can be, and leave a job that runs the command again with these arguments; `stops()` returns
        how often the user has asked to stop. Raises UserError, and KeyboardInterrupt when told to stop.
        """
        raise UserError("There is nothing to leave: stages end with the command.")

    def parting(self, detached: bool) -> str:
        """Say what continues without the command; empty if nothing does."""
        return ""
