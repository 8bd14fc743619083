"""How far long work on files is, in one line. Standard library only."""

from __future__ import annotations

import sys
import time

from ablate.store.disk import amount

TOLD_SECONDS = 30.0  # between two lines where they cannot overwrite each other


class Progress:
    """One line about stages, files and bytes: written over on a terminal, else a new one now and then."""

    def __init__(self, stages: int, size: int):
        self.stages, self.size = stages, size
        self.done = self.files = self.bytes = 0
        self.told = time.monotonic()
        self.live = sys.stderr.isatty()

    def file(self, size: int) -> None:
        """Take note of a file."""
        self.files += 1
        self.bytes += size
        self._tell()

    def stage(self) -> None:
        """Take note of a stage."""
        self.done += 1
        self._tell()

    def end(self) -> None:
        """Leave the line."""
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
