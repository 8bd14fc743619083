"""Which commands work on a sweep now: each has a file in the sweep's folder, with the digest of its plan. Commands of
one plan share a sweep; another plan keeps out. Standard library only.
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
GIVING_WAY_SECONDS = 15.0  # in which one that came at the same time goes, and half a file is written


class Taken(Exception):
    """A command of another plan works on the sweep; `by` is what its file says."""

    def __init__(self, by: dict[str, Any]):
        super().__init__(f"process {by['pid']} on {by['host']}")
        self.by = by


def others(folder: Path, plan: str) -> list[dict[str, Any]]:
    """What live commands of another plan say of themselves in a sweep's folder, the earliest first: host, pid, job,
    began, plan, token; of one that is being written just now all but host and began is None.
    """
    found = [lock for path in folder.glob(PATTERN) if (lock := read_lock_file(path)) is not None]
    different = [lock for lock in found if lock.get("plan") != plan and alive(lock)]
    return sorted(different, key=_order)


def _order(lock: dict[str, Any]) -> tuple[float, str]:
    return lock["began"], lock["token"] or ""


@contextlib.contextmanager
def holding(folder: Path, plan: str) -> Iterator[None]:
    """Be one of the commands that work on a sweep by the plan with this digest, within this context.

    Raises Taken where a command of another plan does. Of two that come at once the later one, by what their files say,
    gives way; the other goes on only once that one's file is gone, so that no clock has to be right.
    """
    own = {**me(), "token": new_token(), "plan": plan, "began": time.time()}
    path = folder / PATTERN.replace("*", own["token"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create(path, own)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise  # else nothing of another's can be overwritten, either: what has to be written says why it cannot
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
        with contextlib.suppress(OSError):  # it is known as dead when this process is
            path.unlink()


def _bury(folder: Path) -> None:
    """Remove the files of commands that are dead."""
    for path in folder.glob(PATTERN):
        lock = read_lock_file(path)
        if lock is not None and not alive(lock):
            with contextlib.suppress(OSError):  # removed just now, another user's, on a disk that is read-only
                path.unlink()


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):  # a disk that is away: others see life when it is back
            os.utime(path)
