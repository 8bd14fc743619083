"""Waits for space on a full disk. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ablate.store import disk

AGAIN_SECONDS = 3.0  # time between two tries
SAY_SECONDS = 60.0  # time between two lines in the log


class Room:
    """Space on the disk of the folder `path`.

    A wait ends as soon as `stopping()` is true. `tell(why)` is called whenever a wait begins, and may raise.
    """

    def __init__(self, path: Path, stopping: Callable[[], bool], tell: Callable[[str], None]) -> None:
        self.path, self.stopping, self.tell = path, stopping, tell
        self.waited = 0.0  # seconds
        self._said = -SAY_SECONDS

    def tried(self, write: Callable[[], None], needed: float = 0.0) -> bool:
        """Call `write`, which writes `needed` bytes; return False if the disk is full, after some seconds of waiting.

        Raises OSError if the disk can never hold that much, and any other error of `write`.
        """
        try:
            disk.check(self.path, needed)
            write()
        except OSError as error:
            if not disk.passes(error):
                raise
            self.wait(disk.why(error.errno, self.path, needed))
            return False
        return True

    def wait(self, why: str) -> None:
        """Wait some seconds for space, and print that now and then."""
        now = time.monotonic()
        if now - self._said >= SAY_SECONDS:
            self._said = now
            with disk.forgiven():
                print(f"{time.strftime('%H:%M:%S')} Waits for room to write: {why}.", flush=True)
        self.tell(why)
        while time.monotonic() - now < AGAIN_SECONDS and not self.stopping():
            time.sleep(0.2)
        self.waited += time.monotonic() - now
