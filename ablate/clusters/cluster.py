"""What a cluster is: something that runs the stages of a board. Another kind is a class of `AbstractCluster`, or of
`ablate.clusters.pool.AbstractPool`, and a line in `ablate.clusters.registry`.
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Optional

from ablate.clusters.resources import Resources
from ablate.clusters.schedule import RUNNING, Board, cores
from ablate.errors import UserError

LATER = 3  # exit status of the command when its cluster takes no more jobs for now

Show = Callable[[Board], None]  # called several times a second with the board as it stands


@dataclass(frozen=True)
class Program:
    """What a process that runs stages executes. Clusters know it by name only."""

    execute: str
    """"module:function" of (stage id, root), which brings one stage to its end."""
    preload: str = ""
    """Module that is loaded beforehand, once for all stages that follow each other in a process or are forked from it.
    """
    main: str = ""
    """"module:function" of a list of arguments: the command itself, for a job that runs it again."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that a process has when it runs a stage."""

    def run(self, id: str, root: Path) -> None:
        """Bring a stage to its end in this process. Raises what `execute` does."""
        os.environ.update(self.environment)
        function_named(self.execute)(id, root)


def function_named(name: str) -> Callable[..., Any]:
    """Import the function that "module:function" names."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


class AbstractCluster(ABC):
    """Runs the stages of a board.

    The command makes one: of the board of what is wanted, the sweep's name, what its jobs ask for, the program that
    runs a stage, and how many stages at a time the user allows (None where that is not said). Making one has to be
    cheap and must start nothing: it may only be to show a plan. Then the command calls one of `preview`, `look`,
    `cancel`, or `run` (`detach` in its place); before these two `retry`, where the user asks for it, and after them
    `parting`.

    A kind says how stages begin (`submit`) and how it learns that they ended (`follow`). All else has defaults, which
    do for stages that end with the command. Where they outlive it, as jobs, `look`, `cancel`, `detach` and `parting`
    are asked for, too.

    What a stage does is none of a cluster's business: `program.execute`, given a stage's id and the root, finds all on
    disk, may be killed at any time, and goes on from there; `ablate.clusters.pool.run_here` says what it raises.
    """

    about: ClassVar[str] = ""
    """Where stages run, in a few words, for `--help`; each kind says it."""
    asks: ClassVar[bool] = False
    """Whether its jobs ask for resources; where they do not, those of the sweep count for nothing."""
    outlives: ClassVar[bool] = False
    """Whether stages go on, as jobs, when the command ends."""
    counts_cores: ClassVar[bool] = False
    """Whether `workers` are cores of this machine, whose use can be summed up."""
    advice: ClassVar[str] = "run the same command again"
    """What to do when the cause of a failure is mended."""

    def __init__(
        self, board: Board, name: str, resources: Resources, program: Program, workers: Optional[int] = None
    ) -> None:
        self.board, self.name, self.resources, self.program = board, name, resources, program
        self.workers = workers or self.most_workers()
        self.stops: Callable[[], int] = lambda: 0
        """How often the user has asked to stop so far."""

    # Asked of every kind --------------------------------------------------------------------------------------------

    @abstractmethod
    def submit(self) -> None:
        """Start stages of the board, or hand them over, as many as there is room for; set the state of each: RUNNING
        what runs, QUEUED what waits for somebody else's machine.

        Called again and again until the user asks to stop, so it has to be quick where there is nothing to do. Raises
        UserError for what can never be run.
        """

    @abstractmethod
    def follow(self) -> None:
        """Wait a moment for news, a second at most, and set the state of what ended: DONE only where its folder
        (`board.folders`) is done; FAILED, with why; STOPPED where the user asked to; ELSEWHERE where another process
        has it.
        """

    # With defaults --------------------------------------------------------------------------------------------------

    def run(self, show: Show, stops: Callable[[], int]) -> None:
        """Run all stages, or until the user has asked to stop and nothing runs that would end with the command."""
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
        """Have what runs save and stop, or end it at once; `follow` then says how it ended. Called when the user asks,
        once for each time. What outlives the command is left alone.
        """
        return None

    def most_workers(self) -> int:
        """How many stages run at a time where the user does not say: one a core of this machine."""
        return cores()

    @property
    def free(self) -> int:
        """How many stages more may be started now."""
        return max(0, self.workers - self.board.count(RUNNING))

    def preview(self) -> str:
        """Say what would be handed over; empty where nothing is. Submits nothing."""
        return ""

    def retry(self) -> None:
        """Forget failures that earlier commands left."""
        return None

    # Asked of kinds whose stages outlive the command ----------------------------------------------------------------

    @classmethod
    def left_at(cls, root: Path) -> bool:
        """Whether an earlier command may have left jobs of such a cluster that write under this root."""
        return False

    def look(self) -> None:
        """Bring the board up to date with jobs of earlier commands, and change nothing else."""
        return None

    def collectors(self) -> list[str]:
        """Say which jobs wait or run that `detach` left, whoever called it, to run this sweep's command again, such as
        "job 12 (pending)"; the one that this process is is none of them. Another plan of the sweep's name is refused
        as long.
        """
        return []

    def cancel(self, whole: bool) -> int:
        """Cancel the jobs of this sweep, unless `whole` only those of stages on the board; return how many. Raises
        UserError.
        """
        raise UserError("There is nothing to cancel: stages end with the command.")

    def detach(self, show: Show, stops: Callable[[], int], arguments: list[str]) -> None:
        """Hand over what can be, and leave a job that runs the command again with these arguments; `stops()` says how
        often the user has asked to stop. Raises UserError, and KeyboardInterrupt where told to stop.
        """
        raise UserError("There is nothing to leave: stages end with the command.")

    def parting(self, detached: bool) -> str:
        """Say what goes on without the command; empty where nothing does."""
        return ""
