"""Copies the code, so that jobs run the code that was submitted."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from ablate.store import plugins

ROOMS = ("ablate", "encoders", "objectives", "analysis")


def snapshot(root: Path) -> Path:
    """Copy the code and that of plugins to ROOT/code and return the copy, so that edits do not affect queued jobs.

    Raises UserError if a plugin does not exist.
    """
    source = Path(__file__).resolve().parents[2]
    files = {place: path for name in plugins.named() for place, path in plugins.files(name).items()}
    files |= {path.relative_to(source): path for room in ROOMS for path in plugins.code(source / room)}
    digest = hashlib.sha256()
    for place, path in sorted(files.items()):
        digest.update(str(place).encode() + b"\0" + path.read_bytes() + b"\0")
    target = Path(root).resolve() / "code" / digest.hexdigest()[:16]
    if not target.exists():
        beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            for place, path in files.items():
                copy = beside / place
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        except OSError:  # a full disk, for example: half a copy is useless
            shutil.rmtree(beside, ignore_errors=True)
            raise
        try:
            beside.rename(target)
        except OSError:  # another driver made the same copy first
            shutil.rmtree(beside)
    return target
