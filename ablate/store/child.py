"""Setup of a worker process: it ends together with the process that started it. Standard library only."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def begin() -> None:
    """Ignore Ctrl-C, which the parent handles, and end this process when its parent ends for whatever reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End this process when its parent has ended.

    The pipe that a worker reads from cannot show that: it and its siblings hold it open themselves.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
