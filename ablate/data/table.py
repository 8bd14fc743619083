"""The form of data on disk: recordings, and tables of rows that refer to them.

A `recordings` folder holds speech that was decoded once: `frames.i64`, the index of each recording's first frame among
all frames, and the end of the last; the frames themselves in `mel.f16`, raw little-endian float16 [total frames, 80].
If features are normalised by speaker, `sums.f64` [recordings, 80] holds the sum over each recording's frames. Without
`mel.f16`, `recordings.jsonl` says where each recording is ("path", and "start", "stop" and "channel" for a part of a
file), and features are computed when asked for; they are the same, bit for bit.

A `table` folder holds one split of one table: `rows.jsonl`, one JSON object per row, and `rows.i64` [rows, 2], the byte
range of each row in it, in the split's canonical order, by which everything draws. Spoken tables also have
`recording.i64` [rows, 2], the recordings folder of a row's speech and its number there, and `frames.i64`, the number of
frames of each row; `recordings.json` names the stages of these folders, with an empty list if the speech lies beside
the rows themselves. If features are normalised by speaker, `speaker.i64` holds the speaker of each row, and `means.f32`
[speakers, 80] what is subtracted from that speaker's frames when they are read. If corpora are mixed, `corpus.i64`
holds the number of each row's corpus. Every kind of corpus writes this form, and later stages read nothing else;
nothing of a table is held in memory.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.columns import ColumnWriter, column
from ablate.data.recordings import BINS, Recordings, RecordingsWriter

Example = dict[str, Any]
"""One item of a table, of a corpus or of a layout's reader: "id", texts, labels, and further fields of the layout."""

FRAME = 0.01  # frame shift in seconds


class TableWriter:
    """Write one split of one table into `folder`, replacing what is there already; a context manager.

    Rows are added in any order; `close(order)` sets the canonical order, by default the order in which they were added.
    """

    def __init__(self, folder: Path, sources: Sequence[str] = ()) -> None:
        """`sources` are the ids of the recordings stages that rows refer to; none if frames are added with the rows."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("recording.i64", "frames.i64", "speaker.i64", "means.f32", "corpus.i64"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "recordings.json").write_text(json.dumps(list(sources)))
        self.sources = tuple(sources)
        self._rows = open(self.folder / "rows.jsonl", "wb")
        self._starts = array("q", [0])
        self._recording, self._frames, self._speaker = array("q"), array("q"), array("q")
        self._own: RecordingsWriter | None = None
        self._sums: dict[str, tuple[int, int, np.ndarray]] = {}  # number of the speaker, frames so far, their sum [80]
        self._closed = False

    def add(
        self,
        row: Mapping[str, Any],
        mel_FM: np.ndarray | None = None,
        *,
        recording: tuple[int, int] | None = None,
        frames: int = 0,
        sum_M: np.ndarray | None = None,
    ) -> None:
        """Append `row`. For a spoken row give its frames [F, 80], or its `recording` (index of the source, number
        there) and its number of `frames`. Adds "frames" and "seconds" to the row.

        If features are normalised by speaker, `sum_M` [80] is the sum over its frames, and the speaker is the row's
        "voice". Raises ValueError if some rows are spoken and others are not.
        """
        spoken = mel_FM is not None or recording is not None
        if len(self) and spoken != bool(self._frames):
            raise ValueError(f"{self.folder}: either all rows are spoken or none; row {row.get('id')} differs.")
        row = dict(row)
        if mel_FM is not None:
            self._own = self._own or RecordingsWriter(self.folder / "own")
            recording, frames = (0, self._own.add(mel_FM)), len(mel_FM)
        if recording is not None:
            self._recording.extend(recording)
            self._frames.append(frames)
            row |= {"seconds": round(frames * FRAME, 2), "frames": frames}
        if sum_M is not None:
            number, before, so_far_M = self._sums.get(row["voice"], (len(self._sums), 0, np.zeros(BINS)))
            self._sums[row["voice"]] = (number, before + frames, so_far_M + sum_M)
            self._speaker.append(number)
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        self._rows.write(line)
        self._starts.append(self._starts[-1] + len(line))

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def hours(self) -> float:
        """Hours of speech so far."""
        return round(sum(self._frames) * FRAME / 3600, 4)

    def close(self, order: Sequence[int] | np.ndarray | None = None, corpus: np.ndarray | None = None) -> None:
        """Finish the split; row `order[i]`, counted as added, becomes row i. `corpus[i]` is the number of the corpus of
        row i, if corpora are mixed.
        """
        if self._closed:
            return
        self._closed = True
        self._rows.close()
        if self._own is not None:
            self._own.close()
        place = np.arange(len(self)) if order is None else np.asarray(order, np.int64)
        assert np.array_equal(np.sort(place), np.arange(len(self))), "an order has every row once"
        starts = np.array(self._starts)

        def kept(name: str, dtype: str, values: Any) -> None:
            writer = ColumnWriter(self.folder / name, dtype)
            writer.extend(np.asarray(values))
            writer.close()

        kept("rows.i64", "<i8", np.stack([starts[:-1], starts[1:]], 1)[place])
        if self._frames:
            kept("frames.i64", "<i8", np.array(self._frames)[place])
            kept("recording.i64", "<i8", np.array(self._recording).reshape(-1, 2)[place])
        if corpus is not None:
            kept("corpus.i64", "<i8", corpus)
        if self._speaker:
            kept("speaker.i64", "<i8", np.array(self._speaker)[place])
            kept("means.f32", "<f4", np.array([sum_M / frames for _, frames, sum_M in self._sums.values()], np.float32))

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Examples(Sequence[dict[str, Any]]):
    """The rows of a table in canonical order, each read from its file when it is asked for."""

    def __init__(self, path: Path) -> None:
        self._spans = column(path / "rows.i64", "<i8").reshape(-1, 2)
        self._bytes = column(path / "rows.jsonl", "u1")

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        first, last = self._spans[index % len(self)]
        return json.loads(self._bytes[first:last].tobytes())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))


class Table:
    """Read one split of one table; rows and frames stay on disk until asked for.

    `name` is its displayed name ("asr.train"); `recordings` are those that its rows refer to, in the order of
    `recordings.json` (none if the speech lies beside the rows).
    """

    def __init__(self, folder: Path, name: str, recordings: Sequence[Recordings] = ()) -> None:
        self.folder, self.name, self.recordings = Path(folder), name, tuple(recordings)
        if not self.recordings and (self.folder / "own").is_dir():
            self.recordings = (Recordings(self.folder / "own"),)

    def __reduce__(self) -> tuple[Any, ...]:
        return Table, (self.folder, self.name, self.recordings)  # another process opens it again

    @cached_property
    def rows(self) -> Sequence[dict[str, Any]]:
        """All rows, in canonical order."""
        return Examples(self.folder)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of a row's fields; empty if the table has no rows."""
        return tuple(self.rows[0]) if len(self.rows) else ()

    @property
    def has_audio(self) -> bool:
        return (self.folder / "frames.i64").exists()

    @property
    def stored(self) -> bool:
        """Whether all frames are stored, so that none is computed from recordings."""
        return all(recordings.stored for recordings in self.recordings)

    @cached_property
    def frames(self) -> np.ndarray:
        """Number of frames of each row, int64."""
        return column(self.folder / "frames.i64", "<i8")

    @property
    def hours(self) -> float:
        """Hours of speech; 0 of text."""
        return float(self.frames.sum()) * FRAME / 3600 if self.has_audio else 0.0

    @cached_property
    def corpus(self) -> np.ndarray:
        """Number of the corpus of each row, int64, if corpora are mixed."""
        return column(self.folder / "corpus.i64", "<i8")

    @cached_property
    def _recording(self) -> np.ndarray:
        return column(self.folder / "recording.i64", "<i8").reshape(-1, 2)

    @cached_property
    def centred(self) -> bool:
        """Whether each recording's bins have mean 0 by themselves, not only over all recordings of a speaker."""
        return not (self.folder / "means.f32").exists()

    @cached_property
    def _speaker(self) -> np.ndarray:
        return column(self.folder / "speaker.i64", "<i8")

    @cached_property
    def means(self) -> np.ndarray:
        """Mean frame of each speaker, float32 [speakers, 80], if features are normalised by speaker."""
        return column(self.folder / "means.f32", "<f4").reshape(-1, BINS)

    def mel(self, index: int) -> np.ndarray:
        """Frames of row `index`: float16 [F, 80], a view of the file, or computed from the recording; minus the
        speaker's mean.

        Raises UserError naming a recording that is missing or has changed.
        """
        mel_FM = self.raw(index)
        return mel_FM if self.centred else (mel_FM - self.means[self._speaker[index]]).astype(np.float16)

    def raw(self, index: int) -> np.ndarray:
        """Frames of row `index` before the speaker's mean is subtracted, if it would be."""
        which, place = self._recording[index]
        return self.recordings[which].mel(int(place))
