"""Which commands work on a sweep now. Each has a file in the sweep's folder, with the digest of its plan.

Commands with the same plan share a sweep; a command with another plan is refused. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ablate.store.attempt import new_token
from ablate.store.lock import BEAT_SECONDS, alive, create, me, read_lock_file

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
PATTERN = ".driver.*.json"
GIVING_WAY_SECONDS = 15.0  # longest wait for a command that started at the same time to give way


class Taken(Exception):
    """A command with another plan works on the sweep; `by` is the content of its file."""

    def __init__(self, by: dict[str, Any]):
        super().__init__(f"process {by['pid']} on {by['host']}")
        self.by = by


def others(folder: Path, plan: str) -> list[dict[str, Any]]:
    """Return the files' contents of live commands with another plan in a sweep's folder, the earliest first.

    Keys: host, pid, job, began, plan, token. If a file is being written just now, only host and began are known, and
    pid and token are None.
    """
    found = [lock for path in folder.glob(PATTERN) if (lock := read_lock_file(path)) is not None]
    different = [lock for lock in found if lock.get("plan") != plan and alive(lock)]
    return sorted(different, key=_order)


def _order(lock: dict[str, Any]) -> tuple[float, str]:
    return lock["began"], lock["token"] or ""


@contextlib.contextmanager
def holding(folder: Path, plan: str) -> Iterator[None]:
    """Be one of the commands that work on a sweep, with the plan of this digest, within this context.

    Raises Taken if a command with another plan works on it. If two start at the same time, the one with the later time
    in its file gives way. The other continues only when that file is gone, so clocks need not be right.
    """
    own = {**me(), "token": new_token(), "plan": plan, "began": time.time()}
    path = folder / PATTERN.replace("*", own["token"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create(path, own)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise  # otherwise nothing can be overwritten here either, and the first write that is needed says why
    over = threading.Event()
    try:
        _bury(folder)
        end = time.monotonic() + GIVING_WAY_SECONDS
        while there := others(folder, plan):
            whole = [lock for lock in there if lock["pid"] is not None]
            if whole and (_order(whole[0]) < _order(own) or time.monotonic() > end):
                raise Taken(whole[0])
            time.sleep(0.05)
        threading.Thread(target=_beat, args=(path, over), daemon=True).start()
        yield
    finally:
        over.set()
        with contextlib.suppress(OSError):  # the file counts as dead once this process has ended
            path.unlink()


def _bury(folder: Path) -> None:
    """Remove the files of commands that have ended."""
    for path in folder.glob(PATTERN):
        lock = read_lock_file(path)
        if lock is not None and not alive(lock):
            with contextlib.suppress(OSError):  # just removed, or another user's, or on a read-only disk
                path.unlink()


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):  # the disk is unavailable: the next beat tries again
            os.utime(path)
