"""Files that are whole or absent: written to a temporary file and renamed, linked, or appended to line by line.

Standard library only.
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
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

NO_LINKS = {errno.EPERM, errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK}
BLOCK = 1 << 20  # bytes


def cache() -> Path:
    """The user's folder for what any process may keep and anybody may delete: $ABLATE_CACHE, or ~/.cache/ablate; for a
    user without a home, as in a container, in the folder of temporary files.
    """
    if own := os.environ.get("ABLATE_CACHE"):
        return Path(own)
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        base = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return base / "ablate"


def open_append(path: Path) -> BinaryIO:
    """Open a JSON-lines file for appending, after removing an incomplete last line that a crash may have left."""
    file = open(path, "ab")
    data = path.read_bytes()
    file.truncate(data.rfind(b"\n") + 1)
    return file


def encoded(value: Any) -> bytes:
    """Return a value as indented JSON in UTF-8, with a newline at the end."""
    return json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"


@contextlib.contextmanager
def beside(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path`, which replaces `path` at the end: readers see the old file or the new one.

    `durable` also syncs it to the disk. If writing fails, nothing is left. The umask decides who may read the file,
    even if the writer (such as safetensors) sets stricter permissions.
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
    """Create a new file and return its mode."""
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
    """Create a hard link, or a copy where the file system has no links. Raises FileExistsError."""
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
    """Return the BLAKE2b hash, 16 bytes, of the rest of an open file."""
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
    """Rename a folder to `name`, with a number appended if that is taken, and return the new name."""
    taken = itertools.chain([name], (f"{name}.{number}" for number in itertools.count(2)))
    kept = next(path for path in map(folder.with_name, taken) if not path.exists())
    with contextlib.suppress(FileNotFoundError):  # another process renamed it just now
        os.rename(folder, kept)
    return kept.name
