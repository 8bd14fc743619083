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
import uuid
from pathlib import Path
from typing import Any, BinaryIO

NO_LINKS = {errno.EPERM, errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
BLOCK = 1 << 20  # bytes


def open_append(path: Path) -> BinaryIO:
    """Open a JSON-lines file at its end, without the torn line a crash may have left."""
    file = open(path, "ab")
    data = path.read_bytes()
    file.truncate(data.rfind(b"\n") + 1)
    return file


def encoded(value: Any) -> bytes:
    """A JSON file for people and programs."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


def replace(path: Path, data: bytes, durable: bool = True) -> None:
    """Write beside and rename; `durable` also waits for the disk."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with open(beside, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        synced(path.parent)


def linked(source: Path, target: Path) -> None:
    """Give a file a second name, or make a copy where the file system has no links. Raises FileExistsError."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        beside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        shutil.copyfile(source, beside)
        synced(beside)
        os.rename(beside, target)


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
