"""Run stages in this process, one after another, so that a debugger sees them."""

from __future__ import annotations

import signal
import time
from typing import Optional

from ablate.clusters.cluster import Program
from ablate.clusters.pool import AbstractPool, run_here
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import STOPPED, Board


class Debug(AbstractPool):
    """This process: output and errors go to the terminal."""

    about = "in this process, one after another"

    def __init__(
        self, board: Board, name: str, resources: Resources, program: Program, workers: Optional[int] = None
    ) -> None:
        super().__init__(board, name, resources, program, workers=1)
        self.result: list[tuple[str, str, str]] = []

    def start(self, id: str) -> None:
        self.result.append(run_here(self.program, id, self.board.root))
        if self.result[-1][1] == STOPPED:
            signal.raise_signal(signal.SIGINT)  # the stage handled the signal; the driver must receive it too

    def ended(self, seconds: float) -> list[tuple[str, str, str]]:
        ended, self.result = self.result, []
        if not ended:
            time.sleep(seconds)
        return ended
