"""Run stages in this process, one after another, so that a debugger sees them."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from ablate.clusters.cluster import AbstractCluster, Program, Show
from ablate.clusters.local import AbstractPool, run_pool
from ablate.clusters.schedule import DONE, ELSEWHERE, FAILED, STOPPED
from ablate.store.run import Busy, Lost, Stopped


class Inline(AbstractPool):
    """Runs each stage in this process, one after another, output and errors to the terminal (for debuggers)."""

    def __init__(self, root: Path, program: Program):
        self.root, self.program, self.workers = Path(root), program, 1
        self.result: list[tuple[str, str, str]] = []

    @property
    def free(self) -> int:
        """How many more stages can be started."""
        return 1 - len(self.result)

    def start(self, id: str, kind: str) -> None:
        """Run a stage to its end."""
        try:
            self.program.run(id, self.root)
            ended = (id, DONE, "")
        except Lost as lost:
            print(lost)
            ended = (id, ELSEWHERE, "")
        except Stopped:
            ended = (id, STOPPED, "")
            signal.raise_signal(signal.SIGINT)  # the stage took the signal; the driver must know too
        except Busy:
            ended = (id, ELSEWHERE, "")
        except Exception as error:
            traceback.print_exc()
            ended = (id, FAILED, f"{type(error).__name__}: {error}")
        self.result.append(ended)

    def ended(self, timeout: float) -> list[tuple[str, str, str]]:
        """Return (id, state, why) of what was run since the last call."""
        ended, self.result = self.result, []
        if not ended:
            time.sleep(timeout)
        return ended

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Nothing runs between calls."""


class Debug(AbstractCluster):
    """This process."""

    def run(self, show: Show, stop: Callable[[], int]) -> None:
        run_pool(self.board, Inline(self.board.root, self.program), show, stop)
