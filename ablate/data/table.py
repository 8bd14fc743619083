"""How a corpus lies on disk: tables of rows, with log-mel frames (or the place of a recording) where a row is spoken.

A corpus folder holds `tables/<table>/<split>/rows.jsonl`, one JSON object per row, and beside it `rows.i64`: where each
row begins, and where the last ends. Spoken tables also have `frames.i64`, where the frames of each row begin in the
frames of all rows, and the frames themselves in `mel.f16`, raw little-endian float16 [total frames, 80]. Without
`mel.f16` the rows say where their recordings are ("path", and "start", "stop" and "channel" of a part of one), and
features are made when asked for; they are the same, bit for bit. Where features are normalised by speaker, `speaker.i64`
says whose a row is, `means.f32` [speakers, 80] what is taken away from that speaker's frames when they are read. Beside
the tables, `corpus.json` says what there is. Every kind of corpus writes this form, and later stages read nothing else;
nothing of a table is held in memory.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ablate.data.columns import ColumnWriter, column
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

    def tables(self) -> Mapping[str, Collection[str]]:
        """Splits of every table that `prepare` will write; nothing where that is not known beforehand."""
        return {}


class TableWriter:
    """Write one split of one table, starting over if there is something already.

    Use as a context manager, or call `close`.
    """

    def __init__(self, folder: Path, table: str, split: str) -> None:
        self.path = Path(folder) / "tables" / table / split
        self.path.mkdir(parents=True, exist_ok=True)
        for name in ("mel.f16", "frames.i64", "speaker.i64", "means.f32"):
            (self.path / name).unlink(missing_ok=True)
        self._rows = open(self.path / "rows.jsonl", "wb")
        self._starts = ColumnWriter(self.path / "rows.i64", "<i8")
        self._starts.append(0)
        self._end = self._frames_end = 0
        self._mel: ColumnWriter | None = None
        self._frames: ColumnWriter | None = None
        self._speakers: _Speakers | None = None

    def add(
        self, row: Mapping[str, Any], mel: np.ndarray | None = None, frames: int = 0, sum_M: np.ndarray | None = None
    ) -> None:
        """Append `row`, and its frames `mel` [F, 80] if it is spoken; adds "frames" and "seconds" to the row.

        A row that says where its recording is has the number of its `frames` instead. Where features are normalised by
        speaker, `sum_M` is their sum over the row's frames, and the speaker is the row's "voice". Raises ValueError if rows
        of one table differ in which of the three they are, or if `mel` has no frames or another width.
        """
        number = self._starts.count - 1
        kind = (mel is not None or frames > 0, mel is not None)
        if number and kind != (self._frames is not None, self._mel is not None):
            raise ValueError(f"{self.path}: either all rows are spoken or none; row {row.get('id')} differs.")
        row = dict(row)
        if mel is not None:
            if mel.ndim != 2 or mel.shape[1] != BINS or len(mel) == 0:
                raise ValueError(f"{self.path}: row {row.get('id')} has frames {mel.shape}, expected [F > 0, {BINS}].")
            self._mel = self._mel or ColumnWriter(self.path / "mel.f16", "<f2")
            self._mel.extend(mel)
            frames = len(mel)
        if frames:
            if self._frames is None:
                self._frames = ColumnWriter(self.path / "frames.i64", "<i8")
                self._frames.append(0)
            self._frames_end += frames
            self._frames.append(self._frames_end)
            row |= {"seconds": round(frames * FRAME, 2), "frames": frames}
        if sum_M is not None:
            self._speakers = self._speakers or _Speakers(self.path)
            self._speakers.add(row["voice"], frames, sum_M)
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        self._rows.write(line)
        self._end += len(line)
        self._starts.append(self._end)

    def close(self) -> None:
        for file in (self._rows, self._starts, self._mel, self._frames, self._speakers):
            if file is not None:
                file.close()

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Speakers:
    """Write whose each row is, and at the end the mean of each speaker's frames."""

    def __init__(self, path: Path) -> None:
        self._of_rows = ColumnWriter(path / "speaker.i64", "<i8")
        self._path = path / "means.f32"
        self._sums: dict[str, tuple[int, int, np.ndarray]] = {}  # number of the speaker, frames so far, their sum [80]

    def add(self, speaker: str, frames: int, sum_M: np.ndarray) -> None:
        number, before, so_far_M = self._sums.get(speaker, (len(self._sums), 0, np.zeros(BINS)))
        self._sums[speaker] = (number, before + frames, so_far_M + sum_M)
        self._of_rows.append(number)

    def close(self) -> None:
        self._of_rows.close()
        means = ColumnWriter(self._path, "<f4")
        means.extend(np.array([sum_M / frames for _, frames, sum_M in self._sums.values()], np.float32))
        means.close()


class Rows(Sequence[dict[str, Any]]):
    """The rows of a table, each read from its file when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._starts = column(path / "rows.i64", "<i8")
        self._bytes = column(path / "rows.jsonl", "u1")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return json.loads(self._bytes[self._starts[index] : self._starts[index + 1]].tobytes())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))


class Table:
    """Read one split of one table; rows and frames stay on disk until asked for.

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
    def rows(self) -> Sequence[dict[str, Any]]:
        """All rows, in order."""
        return Rows(self.path)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of a row's fields; empty if the table has no rows."""
        return tuple(self.rows[0]) if len(self.rows) else ()

    @property
    def has_audio(self) -> bool:
        return (self.path / "frames.i64").exists()

    @property
    def stored(self) -> bool:
        """Whether the frames are in the table, and not to be made of recordings."""
        return (self.path / "mel.f16").exists()

    @cached_property
    def frames(self) -> np.ndarray:
        """Number of frames of each row, int64."""
        return np.diff(self._starts)

    @cached_property
    def _starts(self) -> np.ndarray:
        return column(self.path / "frames.i64", "<i8")

    @cached_property
    def _mel(self) -> np.ndarray:
        return column(self.path / "mel.f16", "<f2").reshape(-1, BINS)

    @cached_property
    def _facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "corpus.json").read_text(encoding="utf-8"))

    @cached_property
    def centred(self) -> bool:
        """Whether it is each recording whose bins have mean 0, and not all of a speaker's together."""
        return not (self.path / "means.f32").exists()

    @cached_property
    def _speaker(self) -> np.ndarray:
        return column(self.path / "speaker.i64", "<i8")

    @cached_property
    def means(self) -> np.ndarray:
        """Mean frame of each speaker, float32 [speakers, 80], where features are normalised by speaker."""
        return column(self.path / "means.f32", "<f4").reshape(-1, BINS)

    def mel(self, index: int) -> np.ndarray:
        """Frames of row `index`: float16 [F, 80], a view of the file, or made of the recording; less the speaker's mean.

        Raises UserError naming a recording that is gone or is not what it was.
        """
        mel_FM = self._features(index)
        return mel_FM if self.centred else (mel_FM - self.means[self._speaker[index]]).astype(np.float16)

    def _features(self, index: int) -> np.ndarray:
        if self.stored:
            return self._mel[self._starts[index] : self._starts[index + 1]]
        from ablate.data.audio import Recording, features  # torch, which not everybody who reads tables has imported

        row = self.rows[index]
        recording = Recording.of(row, Path(self._facts["root"]))
        mel_FM = features(recording, self._facts.get("normalisation", "bins"))
        if len(mel_FM) != row["frames"]:
            raise UserError(
                f"{recording}: has {len(mel_FM)} frames, expected {row['frames']}; it changed after the corpus was made."
            )
        return mel_FM


def describe(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Count rows and hours of every table and split in `folder`: {table: {split: {"rows", "hours"}}}."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for path in sorted((Path(folder) / "tables").glob("*/*")):
        table = Table(folder, path.parent.name, path.name)
        hours = float(table._starts[-1]) * FRAME / 3600 if table.has_audio else 0.0
        tables.setdefault(table.table, {})[table.split] = {"rows": len(table), "hours": round(hours, 4)}
    return tables


def write_corpus(
    run: Any, audit: Mapping[str, Any], tokenizer: Sequence[str] = TOKENIZER_FIELDS, **more: Any
) -> dict[str, Any]:
    """Write corpus.json for the tables in `run.files`, and return what it says.

    `tokenizer` names the fields ("table.field") that a general tokenizer learns from, on their train splits.
    """
    corpus = {"tables": describe(run.files), "audit": dict(audit), "fields": {"tokenizer": list(tokenizer)}, **more}
    run.write_json("corpus.json", corpus)
    return corpus
