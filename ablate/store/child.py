"""Setup of a process: a worker ends together with the process that started it, and no process fails because nobody
reads its output. Standard library only.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
import threading
from typing import Any


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


class Said(io.RawIOBase):
    """An output that is written where that is possible: a pipe may be closed, the disk of a log full."""

    def __init__(self, number: int) -> None:
        self.number = number

    @classmethod
    def stream(cls, number: int, encoding: str = "utf-8", by_line: bool = True) -> io.TextIOWrapper:
        """The standard stream with this file descriptor; letters that the encoding lacks are written as escapes."""
        return io.TextIOWrapper(
            io.BufferedWriter(cls(number)), encoding, "backslashreplace", line_buffering=by_line, write_through=False
        )

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.number

    def write(self, data: Any) -> int:
        try:
            return os.write(self.number, data)
        except OSError:
            return len(data)


def unbroken() -> None:
    """Let this command go on when who reads its output leaves (`| head`), and print on a terminal of any encoding."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None or stream is not getattr(sys, f"__{name}__"):
            continue  # closed, as for a daemon; or put there by a caller
        if stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:
            setattr(sys, name, Said.stream(number, stream.encoding, by_line=number == 2))
