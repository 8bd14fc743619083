"""Locks: which process works on a run folder, and whether it is alive. Standard library only.

A lock is created exclusively and never changed. Progress and signs of life of its process are in a file in its
attempt's folder, so a process that lost its lock cannot overwrite those of another.
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

BEAT_SECONDS = 15.0  # time between two signs of life of a process
STALE_SECONDS = 120.0  # a lock from another machine without a sign of life for this long is dead
CLOCK_SECONDS = 10.0  # how long a reading of a file system's clock is used
PROGRESS = ".progress.json"  # in the attempt's folder
ASIDE = "aside"  # in a lock: its process does not run the stage, but prunes it or adds it from another root

_clocks: dict[int, tuple[float, float]] = {}  # device -> its time at the last reading, and this process's time then


def read_lock(path: Path) -> Optional[dict[str, Any]]:
    """Return the lock in a run folder, dead or alive; None if there is none.

    It includes its process's last report (step, steps, ...); "seen", the time of its last sign of life by the file
    system's clock; and "file", the lock's path.
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
    """Return whether the process that made this lock may still run."""
    here = me()
    if lock.get("pid") is None:  # unreadable: being written just now, or incomplete after a power cut
        return _quiet(lock) < 10.0
    if lock["job"] is not None and lock["job"] == here["job"] and lock["restart"] != here["restart"]:
        return False  # the scheduler restarted this job, so its earlier run has ended
    if (lock["host"], lock["space"]) == (here["host"], here["space"]):
        return _quiet(lock) < STALE_SECONDS if _hidden(lock["pid"]) else _started(lock["pid"]) == lock["started"]
    return _quiet(lock) < STALE_SECONDS


def _quiet(lock: Mapping[str, Any]) -> float:
    """Return the seconds since a lock's last sign of life, by the file system's clock.

    If nothing can be written there, this host's clock is used; such a process cannot take the lock over anyway. Returns
    0 if the disk fails otherwise.
    """
    try:
        return clock(lock["file"].parent) - lock["seen"]
    except OSError as error:
        shut = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
        return time.time() - lock["seen"] if shut else 0.0


def clock(folder: Path) -> float:
    """Return the time by the clock of the file system of `folder`, from the time of a file created there.

    Clocks of hosts may differ by minutes, but hosts that share a disk agree on the times of its files. A reading is
    reused for `CLOCK_SECONDS`. Raises OSError.
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
    """Describe this process so that others can tell whether it is alive. A reused process id has another start time."""
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
    """Return a name for the set of process ids that this process sees: one boot of one machine or container."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return "unknown"


def _started(pid: int) -> Optional[str]:
    """Return when a process started, in clock ticks since boot; None if it does not exist or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _hidden(pid: int) -> bool:
    """Return whether a process exists but belongs to a user whose processes are hidden (/proc mounted with hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return not os.path.exists(f"/proc/{pid}/stat")
    except ProcessLookupError:
        pass
    return False


def read_lock_file(path: Path) -> Optional[dict[str, Any]]:
    """Return the lock in a file, or None if there is no file.

    "file" is the file's path; "made" and "seen" are its time by the file system's clock. A file that cannot be parsed
    gives a lock without token and pid.
    """
    try:
        seen, data = path.stat().st_mtime, path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return {**json.loads(data), "made": seen, "seen": seen, "file": path}
    except ValueError:
        return {"token": None, "pid": None, "host": "unknown", "began": seen, "made": seen, "seen": seen, "file": path}


def create(path: Path, lock: Mapping[str, Any]) -> bool:
    """Create a lock file unless it exists; return whether it was created. If several try, one succeeds.

    The file appears with all its content, except for a moment on file systems without links. Raises OSError, and then
    leaves no file.
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
        error.filename = error.filename or str(path)  # a write to a full disk names no file
        raise
    finally:
        part.unlink(missing_ok=True)
    return True


def _opened(path: Path, data: bytes) -> bool:
    """Create a file unless it exists; return whether it was created. Raises OSError, and then leaves no file."""
    try:
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)  # the umask applies
    except FileExistsError:
        return False
    try:
        os.write(file, data)
    except OSError:  # an empty lock would keep others out for no reason
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return True


def held(path: Path, token: str) -> bool:
    """Return whether the lock in a run folder has this token."""
    lock = read_lock_file(path / "claim.json")
    return lock is not None and lock["token"] == token


def take(path: Path, token: Optional[str]) -> bool:
    """Remove the lock with this token from a run folder; return whether it was there.

    If the lock is another's by now, nothing is done.
    """
    moved = path / f".claim.{uuid.uuid4().hex}.dead"
    try:
        os.rename(path / "claim.json", moved)  # if several try, one succeeds
    except FileNotFoundError:
        return False
    taken = read_lock_file(moved)
    mine = taken is None or taken["token"] == token
    if not mine:
        create(path / "claim.json", taken)  # put back
    moved.unlink(missing_ok=True)
    return mine
