"""Reads what runs and sweeps left on disk. The analysis sees training only through this module. Standard library only.

A run folder is `ROOT/<kind>/<id[:2]>/<id>/`, a sweep folder `ROOT/sweeps/<name>/`. A stage's files lie in the folder of
the attempt that wrote them, which the result names (`files_of`). Readers never write, and never see half a file:
writers rename finished files, and the append-only `.jsonl` files are read up to their last complete line.

`result.json` and `sweep.json` state the `format` of their folder, and the readers here check it:

1. (not stated) commit e7f69db and earlier. A stage's files lie in its run folder. A line of the manifest has one
`corpus`    stage, and one `score` stage per task. how.json names Python modules. Such records are still read and
reported, but    no new plan uses them. 2. A stage's files lie in the folder of the attempt that `result.json` names. A
line of the manifest has a stage for each    table and split (`tables`), each encoding (`tokens`), and each test split
of a task (`score`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from ablate.errors import UserError

FORMAT = 2


class Damaged(UserError):
    """A record's content is not what was written."""


@dataclass(frozen=True)
class Run:
    """A stage's record: what it is (`identity`), and its `result`, which is None until the stage is complete."""

    path: Path
    identity: dict[str, Any]
    result: Optional[dict[str, Any]]

    @property
    def format(self) -> int:
        """Format of the record. An unfinished stage has the current one."""
        return FORMAT if self.result is None else self.result.get("format", 1)

    @property
    def done(self) -> bool:
        """Whether the stage is complete."""
        return self.result is not None

    @property
    def files(self) -> Path:
        """Folder of the stage's files: metrics.jsonl, items.jsonl, checkpoints, tables."""
        return files_of(self.path, self.result)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the logged lines, {"step": ..., name: value, ...}, the oldest first; empty if nothing was logged."""
        return list(read_jsonl(self.files / "metrics.jsonl"))

    def items(self) -> list[dict[str, Any]]:
        """Return the scored items: split, id, reference, hypothesis and counts; empty if there are none."""
        return list(read_jsonl(self.files / "items.jsonl"))


@dataclass(frozen=True)
class Sweep:
    """A sweep: its question (`sweep`: rows, tasks, seeds, table, claims) and the stages that answer it (`manifest`)."""

    path: Path
    sweep: dict[str, Any]
    manifest: list[dict[str, Any]]

    @property
    def format(self) -> int:
        """Format of `sweep` and `manifest`."""
        return self.sweep.get("format", 1)


def run_path(root: Path, kind: str, id: str) -> Path:
    """Return the folder of a stage. Folders are grouped by the first two characters of the id."""
    return Path(root, kind, id[:2], id)  # one constructor call: a plan makes ten thousand paths


def sweep_path(root: Path, name: str) -> Path:
    """Return the folder of a sweep."""
    return Path(root) / "sweeps" / name


def files_of(path: Path, result: Optional[Mapping[str, Any]]) -> Path:
    """Return the folder of the files of the stage in the run folder `path`, whose result this is (None if unfinished).

    That is the folder of the attempt that the result names. Before the stage is complete, it is that of the attempt
    that runs or ran last. Without any attempt, and in format 1, it is the run folder itself.
    """
    if result is not None:
        return path / result.get("attempt", "")
    lock = path / "claim.json"
    try:
        tokens = [json.loads(lock.read_bytes())["token"]]
    except (OSError, ValueError, KeyError):
        tokens = []
    tokens += [line.get("token") for line in reversed(list(read_jsonl(path / "attempts.jsonl")))]
    return next((path / token for token in tokens if token and (path / token).is_dir()), path)


def read_run(root: Path, kind: str, id: str) -> Run:
    """Read a stage's record.

    Raises FileNotFoundError if the stage was never planned under `root`, and UserError for a newer format.
    """
    path = run_path(root, kind, id)
    return Run(path, read_json(path / "identity.json"), read_result(path))


def read_result(folder: Path) -> Optional[dict[str, Any]]:
    """Read the result of the stage in a run folder; None if it is not complete.

    Raises UserError for a newer format, and Damaged for a damaged file.
    """
    path = Path(folder) / "result.json"
    try:
        return known(path, read_json(path)) if path.exists() else None
    except ValueError:
        raise Damaged(f"{path} is damaged; remove {folder}, and run the sweep again.") from None


def read_sweep(root: Path, name: str) -> Sweep:
    """Read a sweep's plan.

    Raises FileNotFoundError if no such sweep was planned under `root`, and UserError for a newer format.
    """
    path = sweep_path(root, name)
    sweep = known(path / "sweep.json", read_json(path / "sweep.json"))
    return Sweep(path, sweep, list(read_jsonl(path / "manifest.jsonl")))


def known(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return a record unchanged. Raises UserError if its format is newer than this code."""
    if (written := record.get("format", 1)) > FORMAT:
        raise UserError(
            f"{path} was written by a newer version (format {written}), this one reads up to {FORMAT}; update ablate."
        )
    return record


class Broken(UserError, ValueError):
    """A file of a record is cut off, empty, or otherwise no JSON."""


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises Broken if it is none."""
    text = Path(path).read_bytes()
    try:
        return json.loads(text)
    except ValueError as error:
        what = f"is no JSON: {error}" if text else "is empty"
        raise Broken(
            f"{path} {what}; it was cut off by a full disk, a copy or a crash: remove the folder {Path(path).parent}, "
            "and run the sweep again."
        ) from error


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete lines of a JSON-lines file. An incomplete last line is skipped, and a missing file is empty.

    Raises json.JSONDecodeError for a broken line before the last one, which no crash explains.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return
    whole = data.rpartition(b"\n")[0]  # the rest is an incomplete line, or empty
    lines = b",".join(line for line in whole.split(b"\n") if line.strip())
    yield from json.loads(b"[" + lines + b"]")  # all at once, which is several times faster
