"""Copy the code, so that what is submitted is what runs."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from ablate.store import plugins

ROOMS = ("ablate", "encoders", "objectives", "analysis")


def snapshot(root: Path) -> Path:
    """Copy the code under `root`/code, that of plugins too, and return the copy, so that edits do not reach jobs that
    wait in the queue. Raises UserError where a plugin is not there.
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
        except OSError:  # the disk is full: half of it is of no use
            shutil.rmtree(beside, ignore_errors=True)
            raise
        try:
            beside.rename(target)
        except OSError:  # another driver made the same copy first
            shutil.rmtree(beside)
    return target
