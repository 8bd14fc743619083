"""What a cluster is: something that runs the stages of a board."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Optional

from ablate.clusters.resources import Resources
from ablate.clusters.schedule import Board, cores
from ablate.errors import UserError

LATER = 3  # exit status of the command when its cluster takes no more jobs for now
NO_JOBS = "--cancel and --detach are about jobs on Slurm; add cluster=slurm."

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
    """Runs the stages of a board; `workers` is how many at a time the user allows, None where that is not said."""

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

    def most_workers(self) -> int:
        """How many stages run at a time where the user does not say: one a core of this machine."""
        return cores()

    @abstractmethod
    def run(self, show: Show, stop: Callable[[], int]) -> None:
        """Run all stages, or until the user has asked to stop: `stop()` says how often so far."""

    @classmethod
    def left_at(cls, root: Path) -> bool:
        """Whether an earlier command may have left jobs of such a cluster that write under this root."""
        return False

    def preview(self) -> str:
        """Say what would be handed over; empty where nothing is."""
        return ""

    def look(self) -> None:
        """Bring the board up to date with jobs of earlier commands, and change nothing else."""
        return None

    def retry(self) -> None:
        """Forget earlier failures of jobs."""
        return None

    def cancel(self, whole: bool) -> int:
        """Cancel the jobs of this sweep, unless `whole` only those of stages on the board; return how many. Raises
        UserError.
        """
        raise UserError(NO_JOBS)

    def detach(self, show: Show, stop: Callable[[], int], arguments: list[str]) -> None:
        """Hand over what can be, and leave a job that runs the command again with these arguments; `stop()` says how
        often the user has asked to stop. Raises UserError, and KeyboardInterrupt where told to stop.
        """
        raise UserError(NO_JOBS)

    def parting(self, detached: bool) -> str:
        """Say what goes on without the command; empty where nothing does."""
        return ""
