"""What disks refuse: which errors are theirs, what each is called, how much is free. Standard library only."""

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

ROOM = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your quota on the disk is used up"}  # there may be room later
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
ROOMY = 1e8  # bytes with which a disk is not full
LEAST = 1 << 16  # bytes that a stage needs to begin


def theirs(error: BaseException) -> bool:
    """Whether an error is a disk's, or of what lies where."""
    return isinstance(error, OSError) and error.errno in WHY


def passes(error: BaseException) -> bool:
    """Whether an error is a lack of room, which may be over later."""
    return isinstance(error, OSError) and error.errno in ROOM


@contextlib.contextmanager
def forgiven() -> Iterator[None]:
    """Go on where what is written here does not fit: it can be done without."""
    try:
        yield
    except OSError as error:
        if not passes(error):
            raise


@contextlib.contextmanager
def told(advice: str = "", folder: Optional[Path] = None) -> Iterator[None]:
    """Raise UserError, a sentence, in place of an error of the disk, which names `folder` where it names no file."""
    try:
        yield
    except OSError as error:
        if not theirs(error):
            raise
        raise UserError(sentence(error, folder) + (f" {advice}" if advice else "")) from error


def keeps_from(error: BaseException, folder: Path, root: Path) -> bool:
    """Whether an error is a disk's that keeps a stage from its `folder` under `root`, and not from what it reads."""
    if not theirs(error) or error.errno == errno.ENOENT and folder.exists():
        return False
    path = named(error)
    return path is None or root.absolute() in path.absolute().parents


def sentence(error: OSError, folder: Optional[Path] = None) -> str:
    """Say which file cannot be used, and why; where that is not known, `folder`."""
    path = named(error) or folder
    return f"Cannot use {path or 'a file'}: {why(error.errno, path)}."


def named(error: OSError) -> Optional[Path]:
    """The file that an error names."""
    return Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes, os.PathLike)) else None


def why(number: int, path: Optional[Path] = None, needed: float = 0.0) -> str:
    """Say what the error of this number means, for a file or a folder at `path`, and what helps: how much of the
    `needed` bytes is free, or which file is closed and whose it is.
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
    except OSError:  # it is not there to be asked
        pass
    return words


def free(path: Path) -> Optional[int]:
    """Bytes that this user may still write to the disk of `path`, which need not exist yet; None where the file system
    counts nothing. Quotas are not known. Raises OSError.
    """
    status = _status(path)
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def check(path: Path, needed: float) -> None:
    """Raise OSError unless `needed` bytes are free on the disk of `path`: ENOSPC, or EFBIG where they will never be."""
    status, left = _status(path), free(path)
    if left is None or needed <= left:
        return
    number = errno.EFBIG if needed > status.f_blocks * status.f_frsize else errno.ENOSPC
    raise OSError(number, os.strerror(number), str(path))


def _status(path: Path) -> os.statvfs_result:
    return os.statvfs(standing(path))


def standing(path: Path) -> Path:
    """This file or folder, or the nearest above it that there is."""
    return next((one for one in (path, *path.absolute().parents) if one.exists()), path)


def amount(size: float) -> str:
    """Bytes as people read them: "1.2 GB", "35.0 MB", "4.1 kB", "12 B"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.95 * factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size:.0f} B"


def closed(path: Path) -> Optional[Path]:
    """The first that this user may not read or write: `path`, the nearest folder above it that exists, or what lies
    in it.
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
    """The first folder out of which this user cannot remove what lies in it: the one around `folder`, it, and those in
    it.
    """
    around = (folder.absolute().parent, *(Path(inside) for inside, _, _ in os.walk(folder)))
    return next((one for one in around if not os.access(one, os.W_OK | os.X_OK)), None)


def modes(path: Path) -> str:
    """Whose a file is and what others may do, as `ls` says it: /runs/score is drwxr-xr-x of ada:lab."""
    status = os.lstat(path)
    me = _name(pwd.getpwuid, os.geteuid())
    owner, group = _name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid)
    return f"{path} is {stat.filemode(status.st_mode)} of {owner}:{group}, and you are {me}"


def _name(look_up: Callable[[int], tuple], number: int) -> str:
    try:
        return look_up(number)[0]
    except KeyError:  # known to another host
        return str(number)
