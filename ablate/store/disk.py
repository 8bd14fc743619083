"""Errors of disks: which errors are theirs, what they mean, and how much space is free. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Optional

from ablate.errors import UserError

ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your quota on the disk is used up"}  # may pass
DENIED = {errno.EACCES: "no permission", errno.EPERM: "not permitted"}
WHY = {
    **ROOM,
    **DENIED,
    errno.EFBIG: "it would be larger than the disk takes",
    errno.EROFS: "the disk is mounted read-only",
    errno.EIO: "the disk has an input/output error",
    errno.ESTALE: "the file server does not know it any more (stale file handle)",
    errno.ENOENT: "it is gone",
    errno.ENOTDIR: "a file lies where a folder should be",
    errno.EISDIR: "a folder lies where a file should be",
    errno.EEXIST: "something else lies there already",
}
SHARED = (
    "a group shares a root where all its members set umask 002, and the owner of what is there runs "
    "chmod -R g+rwX ROOT, and find ROOT -type d -exec chmod g+s {} +"
)
ROOMY = 1e8  # free bytes from which a disk does not count as full
LEAST = 1 << 16  # free bytes that a stage needs to start


def theirs(error: BaseException) -> bool:
    """Return whether an error comes from a disk or from files in unexpected places."""
    return isinstance(error, OSError) and error.errno in WHY


def passes(error: BaseException) -> bool:
    """Return whether an error is a lack of space, which may pass."""
    return isinstance(error, OSError) and error.errno in ROOM


@contextlib.contextmanager
def forgiven() -> Iterator[None]:
    """Ignore errors from a lack of space, for writes that are optional."""
    try:
        yield
    except OSError as error:
        if not passes(error):
            raise


@contextlib.contextmanager
def told(advice: str = "", folder: Optional[Path] = None) -> Iterator[None]:
    """Replace a disk's error by UserError with one sentence, and `advice` after it.

    `folder` is named if the error names no file.
    """
    try:
        yield
    except OSError as error:
        if not theirs(error):
            raise
        raise UserError(sentence(error, folder) + (f" {advice}" if advice else "")) from error


def keeps_from(error: BaseException, folder: Path, root: Path) -> bool:
    """Return whether an error is a disk's and prevents a stage from using its `folder` under `root`.

    Errors about the files that a stage reads do not count.
    """
    if not theirs(error) or error.errno == errno.ENOENT and folder.exists():
        return False
    path = named(error)
    return path is None or root.absolute() in path.absolute().parents


def sentence(error: OSError, folder: Optional[Path] = None) -> str:
    """Say which file cannot be used and why. If the error names no file, `folder` is named."""
    path = named(error) or folder
    return f"Cannot use {path or 'a file'}: {why(error.errno, path)}."


def named(error: OSError) -> Optional[Path]:
    """Return the file that an error names."""
    return Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes, os.PathLike)) else None


def why(number: int, path: Optional[Path] = None, needed: float = 0.0) -> str:
    """Say what the error with this number means for a file or folder at `path`, and what helps.

    For a full disk that is how much is free of the `needed` bytes; for a lack of permission, which file it is and who
    owns it.
    """
    words = WHY.get(number) or os.strerror(number)
    if path is None:
        return words
    try:
        if number == errno.ENOSPC:
            if not _status(path).f_favail and _status(path).f_files:
                return "the disk can hold no more files (all its inodes are used)"
            if (left := free(path)) is None:
                return words
            if left > max(needed, ROOMY):
                return f"{words}, though it counts {amount(left)} free (a quota of the folder or project, perhaps)"
            wanted = f", {amount(needed)} needed" if needed else ""
            return f"{words} ({amount(left)} free{wanted})"
        if number in DENIED:
            return f"{words}: {modes(closed(path) or path)}; {SHARED}"
    except OSError:  # it is gone
        pass
    return words


def free(path: Path) -> Optional[int]:
    """Return the bytes that this user may still write to the disk of `path`; None if the file system does not say.

    `path` need not exist. Quotas are not known. Raises OSError.
    """
    status = _status(path)
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def check(path: Path, needed: float) -> None:
    """Raise OSError unless `needed` bytes are free on the disk of `path`: ENOSPC, or EFBIG beyond its capacity."""
    status, left = _status(path), free(path)
    if left is None or needed <= left:
        return
    number = errno.EFBIG if needed > status.f_blocks * status.f_frsize else errno.ENOSPC
    raise OSError(number, os.strerror(number), str(path))


def _status(path: Path) -> os.statvfs_result:
    return os.statvfs(standing(path))


def standing(path: Path) -> Path:
    """Return the path if it exists, else the nearest folder above it that does."""
    return next((one for one in (path, *path.absolute().parents) if one.exists()), path)


def amount(size: float) -> str:
    """Format bytes as "1.2 GB", "35.0 MB", "4.1 kB" or "12 B"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.95 * factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size:.0f} B"


def closed(path: Path) -> Optional[Path]:
    """Return the first file or folder that this user may not read or write; None if there is none.

    Looks at `path` (or the nearest folder above it that exists), the folder around it, and everything in it.
    """
    there = next((one for one in (path, *path.absolute().parents) if os.path.lexists(one)), path)
    around = [there, *([there.parent] if not there.is_dir() else ())]
    inside = os.walk(there) if there == path else ()
    below = (Path(folder, name) for folder, names, files in inside for name in (*names, *files))
    for one in (*around, *below):
        if not os.access(one, os.R_OK | os.W_OK | (os.X_OK if one.is_dir() else 0)):
            return one
    return None


def kept(folder: Path) -> Optional[Path]:
    """Return the first folder whose contents this user cannot remove; None if there is none.

    Looks at the folder around `folder`, at `folder`, and at those in it.
    """
    around = (folder.absolute().parent, *(Path(inside) for inside, _, _ in os.walk(folder)))
    return next((one for one in around if not os.access(one, os.W_OK | os.X_OK)), None)


def modes(path: Path) -> str:
    """Return who owns a file and its permissions, as `ls` shows them: /runs/score is drwxr-xr-x of ada:lab."""
    status = os.lstat(path)
    me = _name(pwd.getpwuid, os.geteuid())
    owner, group = _name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid)
    return f"{path} is {stat.filemode(status.st_mode)} of {owner}:{group}, and you are {me}"


def _name(look_up: Callable[[int], tuple], number: int) -> str:
    try:
        return look_up(number)[0]
    except KeyError:  # a user or group of another host
        return str(number)
