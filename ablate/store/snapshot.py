"""Copy the code, so that what is submitted is what runs."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

SUFFIXES = (".py", ".css", ".js", ".csv")
ROOMS = ("ablate", "encoders", "objectives", "analysis")


def _belongs(path: Path) -> bool:
    """Whether a file is code, or what code reads beside it (the page's style and script, published values)."""
    return path.is_file() and path.suffix in SUFFIXES and not any(part.startswith(".") for part in path.parts[-2:])


def snapshot(root: Path) -> Path:
    """Copy the code under `root`/code and return the copy, so that edits do not reach jobs that wait in the queue."""
    source = Path(__file__).resolve().parents[2]
    files = sorted(path for room in ROOMS for path in (source / room).rglob("*") if _belongs(path))
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(source)).encode() + b"\0" + file.read_bytes() + b"\0")
    target = Path(root).resolve() / "code" / digest.hexdigest()[:16]
    if not target.exists():
        beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        for file in files:
            copy = beside / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        try:
            beside.rename(target)
        except OSError:  # another driver made the same copy first
            shutil.rmtree(beside)
    return target
