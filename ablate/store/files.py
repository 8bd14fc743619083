"""Files that are whole or not there: written beside and renamed, linked, appended to line by line. Standard library
only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

NO_LINKS = {errno.EPERM, errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
BLOCK = 1 << 20  # bytes


def cache() -> Path:
    """The user's folder for what any process may keep and anybody may delete: $ABLATE_CACHE, or ~/.cache/ablate."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ABLATE_CACHE") or Path(base) / "ablate")


def open_append(path: Path) -> BinaryIO:
    """Open a JSON-lines file at its end, without the torn line a crash may have left."""
    file = open(path, "ab")
    data = path.read_bytes()
    file.truncate(data.rfind(b"\n") + 1)
    return file


def encoded(value: Any) -> bytes:
    """A JSON file for people and programs."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


@contextlib.contextmanager
def beside(path: Path, durable: bool = True) -> Iterator[Path]:
    """A path to write to, beside `path`, which it becomes at the end: a reader meets the old file or the new one.

    `durable` also waits for the disk. Where writing fails nothing is left. Who may read it is up to the umask, also
    where it is written by what keeps others out (safetensors).
    """
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    mode = _made(part)
    try:
        yield part
        if stat.S_IMODE(part.stat().st_mode) != mode:
            part.chmod(mode)
        if durable:
            synced(part)
        os.replace(part, path)
    except Exception:
        part.unlink(missing_ok=True)
        raise
    if durable:
        synced(path.parent)


def _made(path: Path) -> int:
    """Make a new file, and return the mode that it got."""
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(file).st_mode)
    finally:
        os.close(file)


def replace(path: Path, data: bytes, durable: bool = True) -> None:
    """Write a file whole or not at all (see `beside`)."""
    with beside(path, durable) as part:
        part.write_bytes(data)


def linked(source: Path, target: Path) -> None:
    """Give a file a second name, or make a copy where the file system has no links. Raises FileExistsError."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        copied(source, target)


def copied(source: Path, target: Path, durable: bool = True) -> None:
    """Copy a file, whole or not at all."""
    with beside(target, durable) as part:
        shutil.copyfile(source, part)


def digest(file: BinaryIO) -> bytes:
    """BLAKE2b of what is left of a file, 16 bytes."""
    hashed = hashlib.blake2b(digest_size=16)
    while block := file.read(BLOCK):
        hashed.update(block)
    return hashed.digest()


def synced(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def aside(folder: Path, name: str) -> str:
    """Rename a folder to `name`, or to that with a number where it is taken; return what it is called then."""
    taken = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(2)))
    kept = next(path for path in map(folder.with_name, taken) if not path.exists())
    with contextlib.suppress(FileNotFoundError):  # somebody else did so just now
        os.rename(folder, kept)
    return kept.name
