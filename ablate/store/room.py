"""Waiting for room on a disk. Standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ablate.store import disk

AGAIN_SECONDS = 3.0  # how often it is tried whether the disk has room again
SAY_SECONDS = 60.0  # how often the log says that it has not


class Room:
    """Room on the disk of the folder `path`. Who waits for it stops as soon as `stopping()` is true; `tell(why)` is
    called whenever it begins to wait, and may raise.
    """

    def __init__(self, path: Path, stopping: Callable[[], bool], tell: Callable[[str], None]) -> None:
        self.path, self.stopping, self.tell = path, stopping, tell
        self.waited = 0.0  # seconds
        self._said = -SAY_SECONDS

    def tried(self, write: Callable[[], None], needed: float = 0.0) -> bool:
        """Call `write`, which writes `needed` bytes, and return True; or wait a few seconds, and return False, where
        the disk has no room for that.

        Raises OSError for what is more than the disk can ever hold, and what `write` raises else.
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
        """Wait for room a few seconds, and say so now and then."""
        now = time.monotonic()
        if now - self._said >= SAY_SECONDS:
            self._said = now
            with disk.forgiven():
                print(f"{time.strftime('%H:%M:%S')} Waits for room to write: {why}.", flush=True)
        self.tell(why)
        while time.monotonic() - now < AGAIN_SECONDS and not self.stopping():
            time.sleep(0.2)
        self.waited += time.monotonic() - now
