"""Pruning of finished stages: which of their files can be removed, and which were. Standard library only.

`pruned.json` in a run folder names files that were removed from the attempt that `result.json` names. It is written
before they are removed, so for every reader these files are gone. If it says "again", the stage is to be made again, as
a missing stage needs the files; its record stays until the new one replaces it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Optional

from ablate.errors import UserError
from ablate.store import files
from ablate.store.record import read_json

NAME = "pruned.json"
WEIGHTS, MOMENTS, ENCODINGS, DATA = "weights", "moments", "encodings", "data"
CHECKPOINTS = {"model": WEIGHTS, "moments": MOMENTS}  # files of checkpoints, by the first word of their names
DERIVED = {"tokens": ENCODINGS, "recordings": DATA, "table": DATA}  # kinds of stages derived from data elsewhere


class Pruned(UserError):
    """A file that was pruned is needed."""


def part(kind: str, name: str) -> str:
    """Return which of the parts above a file of a stage belongs to; empty for records, which are never removed."""
    if name.endswith(".safetensors"):
        return CHECKPOINTS.get(name.rpartition("/")[2].partition(".")[0], "")
    return DERIVED.get(kind, "")


def gone(path: Path) -> dict[str, int]:
    """Return the files that were pruned from the finished stage in the run folder `path`, with their bytes."""
    note = _note(path)
    return note["files"] if note else {}


def lacks(path: Path, kind: str, parts: Collection[str]) -> bool:
    """Return whether a file of one of these parts was pruned."""
    return any(part(kind, name) in parts for name in gone(path))


def reopened(path: Path) -> bool:
    """Return whether the finished stage in the run folder `path` is to be made again."""
    if not os.path.exists(f"{path}/{NAME}"):  # the usual case; asked for each of ten thousand stages
        return False
    note = _note(path)
    return note is not None and note["again"]


def complete(path: Path) -> bool:
    """Return whether the stage in the run folder `path` is finished, and not being made again after pruning."""
    return os.path.exists(f"{path}/result.json") and not reopened(path)


def write(path: Path, names: Mapping[str, int], attempt: str = "") -> None:
    """Note that files, given with their bytes, are gone from now on.

    They belong to `attempt`, which a result will name, or by default to the attempt that the result names.
    """
    of = attempt or _attempt(path)
    note = {"attempt": of, "files": {**gone(path), **names}, "again": False, "when": time.time()}
    files.replace(path / NAME, files.encoded(note))


def reopen(path: Path) -> None:
    """Have a pruned stage made again: until then it counts as not done. Does nothing if no file was pruned."""
    if (note := _note(path)) is not None:
        files.replace(path / NAME, files.encoded({**note, "again": True}))


def withdraw(path: Path, names: Collection[str]) -> None:
    """Undo the note that files are gone, none of which were removed yet."""
    left = {name: size for name, size in gone(path).items() if name not in names}
    if left:
        note = read_json(path / NAME)
        files.replace(path / NAME, files.encoded({**note, "files": left}))
    else:
        (path / NAME).unlink(missing_ok=True)


def _note(path: Path) -> Optional[dict[str, Any]]:
    """Return the note about the attempt that the result names, or None."""
    try:
        note = read_json(path / NAME)
        return note if note["attempt"] == _attempt(path) else None  # else the stage was made again since
    except FileNotFoundError:
        return None


def _attempt(path: Path) -> str:
    return read_json(path / "result.json").get("attempt", "")
