"""Locks: who works on a run folder, and whether that process still lives. Standard library only.

A lock is created exclusively and never changed. How far its process is, and its signs of life, are in a file of its
attempt's own folder: a process that lost its lock thus cannot write over another's.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ablate.store.files import NO_LINKS

BEAT_SECONDS = 15.0  # how often a process shows life while nothing else does
STALE_SECONDS = 120.0  # a lock from another machine without a sign of life for this long is dead
CLOCK_SECONDS = 10.0  # how long a look at a file system's clock is good for
PROGRESS = ".progress.json"  # in the attempt's folder
ASIDE = "aside"  # in a lock: its process makes no attempt at the stage, but prunes it or takes it from another root

_clocks: dict[int, tuple[float, float]] = {}  # device -> its time at the last look, and this process's then


def read_lock(path: Path) -> Optional[dict[str, Any]]:
    """Return the lock in a run folder, dead or alive; None if free.

    It has its process's own report (step, steps, ...) and "seen", the time of its last sign of life, by the clock of
    the file system; "file" is where the lock lies.
    """
    lock = read_lock_file(path / "claim.json")
    if lock is None or lock["token"] is None:
        return lock
    progress = path / lock["token"] / PROGRESS
    try:
        seen, report = progress.stat().st_mtime, json.loads(progress.read_bytes())
    except (OSError, ValueError):
        return lock
    return {**lock, **report, "seen": max(lock["seen"], seen)}


def alive(lock: Mapping[str, Any]) -> bool:
    """Whether the process that made this lock may still run."""
    here = me()
    if lock.get("pid") is None:  # unreadable: being written just now, or torn by a power cut
        return _quiet(lock) < 10.0
    if lock["job"] is not None and lock["job"] == here["job"] and lock["restart"] != here["restart"]:
        return False  # the scheduler started this very job again, so its earlier start is over
    if (lock["host"], lock["space"]) == (here["host"], here["space"]):
        return _quiet(lock) < STALE_SECONDS if _hidden(lock["pid"]) else _started(lock["pid"]) == lock["started"]
    return _quiet(lock) < STALE_SECONDS


def _quiet(lock: Mapping[str, Any]) -> float:
    """Seconds since a lock's last sign of life, by the file system's own clock; by this host's where one may touch
    nothing there, as who may not takes nothing over, too; 0 where the disk fails.
    """
    try:
        return clock(lock["file"].parent) - lock["seen"]
    except OSError as error:
        shut = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        return time.time() - lock["seen"] if shut else 0.0


def clock(folder: Path) -> float:
    """The time by the clock of the file system that `folder` is on: that of a file touched in it, at most ten seconds
    ago.

    Hosts' clocks differ by minutes; those that share a disk agree on the times of its files. Raises OSError.
    """
    device, now = os.stat(folder).st_dev, time.monotonic()
    if device not in _clocks or now - _clocks[device][1] > CLOCK_SECONDS:
        touched = folder / f".clock.{uuid.uuid4().hex[:8]}.part"
        file = os.open(touched, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            os.utime(file)
            _clocks[device] = os.fstat(file).st_mtime, now
        finally:
            os.close(file)
            touched.unlink(missing_ok=True)
    there, then = _clocks[device]
    return there + now - then


def me() -> dict[str, Any]:
    """Describe this process so that another can tell whether it lives; a reused process id starts at another time."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return {
        "host": socket.gethostname(),
        "space": _space(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": job,
        "restart": os.environ.get("SLURM_RESTART_COUNT", "0"),
    }


def _space() -> str:
    """Name the set of process ids this process sees: one boot of one machine, and one container of it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return "unknown"


def _started(pid: int) -> Optional[str]:
    """Return when a process started, in clock ticks since boot, or None when there is none (or only a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _hidden(pid: int) -> bool:
    """Whether there is such a process and it is another user's who may not be looked at (/proc with hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not os.path.exists(f"/proc/{pid}/stat")
    except ProcessLookupError:
        pass
    return False


def read_lock_file(path: Path) -> Optional[dict[str, Any]]:
    """Return the lock in a file, with "made" and "seen" (when it was, by the clock of the file system) and "file"."""
    try:
        seen, data = path.stat().st_mtime, path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return {**json.loads(data), "made": seen, "seen": seen, "file": path}
    except ValueError:
        return {"token": None, "pid": None, "host": "unknown", "began": seen, "made": seen, "seen": seen, "file": path}


def create(path: Path, lock: Mapping[str, Any]) -> bool:
    """Create a lock file, whole, unless there is one; True if created. Raises OSError, which leaves none.

    Of several that try, one gets it. Only where the file system has no links is it there for a moment without all of
    its content.
    """
    data = json.dumps({k: v for k, v in lock.items() if k not in ("made", "seen", "file")}).encode()
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.write_bytes(data)
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in NO_LINKS:
            return _opened(path, data)
        error.filename = error.filename or str(path)  # of a write that finds no room
        raise
    finally:
        part.unlink(missing_ok=True)
    return True


def _opened(path: Path, data: bytes) -> bool:
    """Create a file unless there is one; True if created. Raises OSError, which leaves none."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)  # less what the umask says
    except FileExistsError:
        return False
    try:
        os.write(file, data)
    except OSError:  # an empty lock would keep others away for nothing
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return True


def held(path: Path, token: str) -> bool:
    """Whether the lock in a run folder is the one with this token."""
    lock = read_lock_file(path / "claim.json")
    return lock is not None and lock["token"] == token


def take(path: Path, token: Optional[str]) -> bool:
    """Move the lock with this token out of a run folder; False, and nothing done, where it is another's by now."""
    moved = path / f".claim.{uuid.uuid4().hex}.dead"
    try:
        os.rename(path / "claim.json", moved)  # of several that try, one gets it
    except FileNotFoundError:
        return False
    taken = read_lock_file(moved)
    mine = taken is None or taken["token"] == token
    if not mine:
        create(path / "claim.json", taken)  # put back
    moved.unlink(missing_ok=True)
    return mine
