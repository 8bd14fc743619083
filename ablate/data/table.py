"""How a corpus lies on disk: tables of rows, with log-mel frames beside them where a row is spoken.

A corpus folder holds `tables/<table>/<split>/rows.jsonl`, one JSON object per row, and for spoken tables
`mel.f16`: the frames of all rows one after the other, raw little-endian float16 [total frames, 80]. Beside the
tables, `corpus.json` says what there is. Every kind of corpus writes this form, and later stages read nothing else.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ablate.errors import UserError, nearest

BINS = 80  # mel bins of a frame
FRAME = 0.01  # seconds from one frame to the next

# Text fields that a tokenizer for all English text learns from.
TOKENIZER_FIELDS = ("text.text", "pairs.text", "normalization.written")


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(ABC):
    """What a corpus is made of. Subclasses are the kinds of corpora (`data:` in a sweep)."""

    recipe: ClassVar[int]
    """Version of the code that makes the corpus: part of its identity, raised by hand when the result changes."""

    @abstractmethod
    def prepare(self, run: Any) -> dict[str, Any]:
        """Write all tables and corpus.json into the run folder `run`, and return the result for its record."""


class TableWriter:
    """Write one split of one table, starting over if there is something already.

    Use as a context manager, or call `close`.
    """

    def __init__(self, folder: Path, table: str, split: str) -> None:
        self.path = Path(folder) / "tables" / table / split
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "mel.f16").unlink(missing_ok=True)
        self._rows = open(self.path / "rows.jsonl", "w", encoding="utf-8")
        self._mel = None
        self._count = 0

    def add(self, row: Mapping[str, Any], mel: np.ndarray | None = None) -> None:
        """Append `row`, and its frames `mel` [F, 80] if it is spoken; adds "frames" and "seconds" to the row.

        Raises ValueError if only some rows of the table are spoken, or if `mel` has no frames or another width.
        """
        if self._count and (mel is None) != (self._mel is None):
            raise ValueError(f"{self.path}: either all rows are spoken or none; row {row.get('id')} differs.")
        row = dict(row)
        if mel is not None:
            if mel.ndim != 2 or mel.shape[1] != BINS or len(mel) == 0:
                raise ValueError(f"{self.path}: row {row.get('id')} has frames {mel.shape}, expected [F > 0, {BINS}].")
            if self._mel is None:
                self._mel = open(self.path / "mel.f16", "wb")
            self._mel.write(np.ascontiguousarray(mel, dtype="<f2").tobytes())
            row |= {"seconds": round(len(mel) * FRAME, 2), "frames": len(mel)}
        self._rows.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._count += 1

    def close(self) -> None:
        self._rows.close()
        if self._mel is not None:
            self._mel.close()

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Table:
    """Read one split of one table; frames stay on disk until asked for.

    Raises UserError if the corpus in `folder` has no such table or split, with the nearest name that it has.
    """

    def __init__(self, folder: Path, table: str, split: str) -> None:
        self.folder, self.table, self.split = Path(folder), table, split
        self.path = self.folder / "tables" / table / split
        if not (self.path / "rows.jsonl").exists():
            have = sorted(f"{p.parent.name}.{p.name}" for p in (self.folder / "tables").glob("*/*"))
            name = f"{table}.{split}"
            raise UserError(f"The corpus has no '{name}': {nearest(name, have)}")

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """All rows, in order."""
        with open(self.path / "rows.jsonl", encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of a row's fields; empty if the table has no rows."""
        return tuple(self.rows[0]) if self.rows else ()

    @property
    def has_audio(self) -> bool:
        return (self.path / "mel.f16").exists()

    @cached_property
    def frames(self) -> np.ndarray:
        """Number of frames of each row, int64."""
        return np.array([row["frames"] for row in self.rows], dtype=np.int64)

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.concatenate(([0], np.cumsum(self.frames)))

    @cached_property
    def _mel(self) -> np.ndarray:
        return np.memmap(self.path / "mel.f16", dtype="<f2", mode="r").reshape(-1, BINS)

    def mel(self, index: int) -> np.ndarray:
        """Frames of row `index`: float16 [F, 80], a view of the file."""
        return self._mel[self._starts[index] : self._starts[index + 1]]


def describe(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Count rows and hours of every table and split in `folder`: {table: {split: {"rows", "hours"}}}."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for path in sorted((Path(folder) / "tables").glob("*/*")):
        table = Table(folder, path.parent.name, path.name)
        hours = float(table.frames.sum()) * FRAME / 3600 if table.has_audio else 0.0
        tables.setdefault(table.table, {})[table.split] = {"rows": len(table), "hours": round(hours, 4)}
    return tables


def write_corpus(run: Any, audit: Mapping[str, Any], tokenizer: Sequence[str] = TOKENIZER_FIELDS) -> dict[str, Any]:
    """Write corpus.json for the tables in `run.path`, and return what it says.

    `tokenizer` names the fields ("table.field") that a general tokenizer learns from, on their train splits.
    """
    corpus = {"tables": describe(run.path), "audit": dict(audit), "fields": {"tokenizer": list(tokenizer)}}
    run.write_json("corpus.json", corpus)
    return corpus
