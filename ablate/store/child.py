"""What a worker process does first, so that it ends with the process that started it. Standard library only."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def begin() -> None:
    """Leave Ctrl-C to the parent, and end when the parent does, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """A worker waits for work on a pipe that it or its siblings hold open too, so a killed parent would go
    unnoticed.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
