"""Read what runs and sweeps left on disk; the one door from training to analysis. Standard library only.

A run folder is `ROOT/<kind>/<id[:2]>/<id>/`, a sweep folder `ROOT/sweeps/<name>/`. What a stage writes lies in a folder
of the attempt that wrote it, which its result names (`files_of`). Readers never write, and never see
half a file: writers write beside and rename, and the append-only `.jsonl` files are read up to their last whole line.

`result.json` and `sweep.json` say the `format` of their folder, and the readers here look at it, once a folder:

1. (nothing said) commit e7f69db and before: a stage's files lie in its run folder; a line of the manifest has one
   `corpus` stage, and one `score` stage a task; how.json names Python modules. Read and reported for ever, met by no
   new plan.
2. What a stage wrote lies in the folder of the attempt that `result.json` names. A line of the manifest has a stage for
   each table and split (`tables`), encoding (`tokens`), and test split of a task (`score`).
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
    """A record is not what was written."""


@dataclass(frozen=True)
class Run:
    """One stage's record: what it is (`identity`), and what came of it (`result`, None until it is complete)."""

    path: Path
    identity: dict[str, Any]
    result: Optional[dict[str, Any]]

    @property
    def format(self) -> int:
        """Of the record; what is not complete is as this code writes it."""
        return FORMAT if self.result is None else self.result.get("format", 1)

    @property
    def done(self) -> bool:
        """Whether the stage is complete."""
        return self.result is not None

    @property
    def files(self) -> Path:
        """Where the stage's files lie: metrics.jsonl, items.jsonl, checkpoints, tables."""
        return files_of(self.path, self.result)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the logged lines, {"step": ..., name: value, ...}, oldest first; empty when nothing was logged."""
        return list(read_jsonl(self.files / "metrics.jsonl"))

    def items(self) -> list[dict[str, Any]]:
        """Return the scored items: split, id, reference, hypothesis and per-item counts; empty when there are none."""
        return list(read_jsonl(self.files / "items.jsonl"))


@dataclass(frozen=True)
class Sweep:
    """A sweep's question (`sweep`: rows, tasks, seeds, table, claims) and which stages answer it (`manifest`)."""

    path: Path
    sweep: dict[str, Any]
    manifest: list[dict[str, Any]]

    @property
    def format(self) -> int:
        """Of `sweep` and `manifest`."""
        return self.sweep.get("format", 1)


def run_path(root: Path, kind: str, id: str) -> Path:
    """Return the folder of a stage; folders fan out by the first two letters of the id."""
    return Path(root, kind, id[:2], id)  # at once: ten thousand are made in a plan


def sweep_path(root: Path, name: str) -> Path:
    """Return the folder of a sweep."""
    return Path(root) / "sweeps" / name


def files_of(path: Path, result: Optional[Mapping[str, Any]]) -> Path:
    """Where the files of the stage in the run folder `path` lie, whose result this is (None: it is not complete).

    In the folder of the attempt that the result names; before it is complete, of the attempt that runs or was last to;
    in the run folder itself where there is none, and in a record of format 1.
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
    """Read a stage's record. Raises FileNotFoundError when the stage was never planned under `root`, UserError when it
    is of a newer format.
    """
    path = run_path(root, kind, id)
    return Run(path, read_json(path / "identity.json"), read_result(path))


def read_result(folder: Path) -> Optional[dict[str, Any]]:
    """Read what came of the stage in a run folder, None when it is not complete.

    Raises UserError for a newer format, Damaged for a damaged file.
    """
    path = Path(folder) / "result.json"
    try:
        return known(path, read_json(path)) if path.exists() else None
    except ValueError:
        raise Damaged(f"{path} is damaged; remove {folder}, and run the sweep again.") from None


def read_sweep(root: Path, name: str) -> Sweep:
    """Read a sweep's plan. Raises FileNotFoundError when no such sweep was planned under `root`, UserError when it is
    of a newer format.
    """
    path = sweep_path(root, name)
    sweep = known(path / "sweep.json", read_json(path / "sweep.json"))
    return Sweep(path, sweep, list(read_jsonl(path / "manifest.jsonl")))


def known(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return a record if this code can read its format. Raises UserError if it is newer."""
    if (written := record.get("format", 1)) > FORMAT:
        raise UserError(
            f"{path} was written by a newer version (format {written}), this one reads up to {FORMAT}; update ablate."
        )
    return record


def read_json(path: Path) -> Any:
    """Read one JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a JSON-lines file; a last line that a crash tore is left out, a missing file is empty.

    Raises json.JSONDecodeError for a broken line before the last one: that is damage, not a crash.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return
    whole = data.rpartition(b"\n")[0]  # what follows is a torn line, or nothing
    lines = b",".join(line for line in whole.split(b"\n") if line.strip())
    yield from json.loads(b"[" + lines + b"]")  # all at once: several times faster than one after the other
