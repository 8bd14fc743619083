"""Shows the progress of long work on files in one line. Standard library only."""

from __future__ import annotations

import sys
import time

from ablate.store.disk import amount

TOLD_SECONDS = 30.0  # between two lines if the output is not a terminal


class Progress:
    """A line with numbers of stages, files and bytes: rewritten on a terminal, else printed now and then."""

    def __init__(self, stages: int, size: int):
        self.stages, self.size = stages, size
        self.done = self.files = self.bytes = 0
        self.told = time.monotonic()
        self.live = sys.stderr.isatty()

    def file(self, size: int) -> None:
        """Count a file of `size` bytes."""
        self.files += 1
        self.bytes += size
        self._tell()

    def stage(self) -> None:
        """Count a stage."""
        self.done += 1
        self._tell()

    def end(self) -> None:
        """Print the final numbers and end the line."""
        if self.live and self.stages:
            self._tell(0.0)
            print(file=sys.stderr)

    def _tell(self, every: float = 0.2) -> None:
        now = time.monotonic()
        if now - self.told < (every if self.live else TOLD_SECONDS):
            return
        self.told = now
        line = f"{self.done:,} of {self.stages:,} stages, {self.files:,} files, {amount(self.bytes)} of "
        line += amount(self.size)
        print(f"\r{line:<79}" if self.live else line, end="" if self.live else "\n", file=sys.stderr, flush=True)
