"""What of a finished stage can be given back to the disk, and what was. Standard library only.

`pruned.json` in a run folder names the files that were removed from the attempt that `result.json` names. It is written
before they are, so what it names is gone for every reader. With "again" in it the stage is to be made again, as
something that is missing needs these files; its record stays until the new one takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Optional

from ablate.errors import UserError
from ablate.store import files
from ablate.store.record import read_json

NAME = "pruned.json"
WEIGHTS, MOMENTS, ENCODINGS, DATA = "weights", "moments", "encodings", "data"
CHECKPOINTS = {"model": WEIGHTS, "moments": MOMENTS}  # what checkpoints hold, by the first word of a file's name
DERIVED = {"tokens": ENCODINGS, "recordings": DATA, "table": DATA}  # kinds of stages made from data that lie elsewhere


class Pruned(UserError):
    """Something reads what was pruned."""


def part(kind: str, name: str) -> str:
    """What a file of a stage is: one of the parts above, empty for a record, which is never removed."""
    if name.endswith(".safetensors"):
        return CHECKPOINTS.get(name.rpartition("/")[2].partition(".")[0], "")
    return DERIVED.get(kind, "")


def gone(path: Path) -> dict[str, int]:
    """The files that were pruned from the finished stage in the run folder `path`, and their bytes."""
    note = _note(path)
    return note["files"] if note else {}


def lacks(path: Path, kind: str, parts: Collection[str]) -> bool:
    """Whether a file of one of these parts was pruned."""
    return any(part(kind, name) in parts for name in gone(path))


def reopened(path: Path) -> bool:
    """Whether the finished stage in the run folder `path` is to be made again."""
    note = _note(path)
    return note is not None and note["again"]


def write(path: Path, names: Mapping[str, int], attempt: str = "") -> None:
    """Take files, with their bytes, for gone from now on; of the `attempt` that a result will name, or of that which it
    names.
    """
    of = attempt or _attempt(path)
    note = {"attempt": of, "files": {**gone(path), **names}, "again": False, "when": time.time()}
    files.replace(path / NAME, files.encoded(note))


def reopen(path: Path) -> None:
    """Have a pruned stage made again: it counts as not done until then. Nothing where nothing is gone."""
    if (note := _note(path)) is not None:
        files.replace(path / NAME, files.encoded({**note, "again": True}))


def withdraw(path: Path, names: Collection[str]) -> None:
    """Take back that files are gone, of which none was removed yet."""
    left = {name: size for name, size in gone(path).items() if name not in names}
    if left:
        note = read_json(path / NAME)
        files.replace(path / NAME, files.encoded({**note, "files": left}))
    else:
        (path / NAME).unlink(missing_ok=True)


def _note(path: Path) -> Optional[dict[str, Any]]:
    """What is noted of the attempt that the result names; None where nothing is."""
    try:
        note = read_json(path / NAME)
        return note if note["attempt"] == _attempt(path) else None  # else it was made again since
    except FileNotFoundError:
        return None


def _attempt(path: Path) -> str:
    return read_json(path / "result.json").get("attempt", "")
