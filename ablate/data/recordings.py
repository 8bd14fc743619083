"""Speech that was decoded once: features of recordings in one folder, which tables refer to (see
`ablate.data.table`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ablate.data.columns import ColumnWriter, column
from ablate.errors import UserError

if TYPE_CHECKING:
    from ablate.data.audio import Recording

BINS = 80  # mel bins per frame


class RecordingsWriter:
    """Write recordings into `folder`, replacing what is there already; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("mel.f16", "sums.f64", "recordings.jsonl"):
            (self.folder / name).unlink(missing_ok=True)
        self.frames = 0
        self._starts = ColumnWriter(self.folder / "frames.i64", "<i8")
        self._starts.append(0)
        self._mel: ColumnWriter | None = None
        self._sums: ColumnWriter | None = None
        self._places: Any = None

    def __len__(self) -> int:
        return self._starts.count - 1

    def add(
        self,
        mel_FM: np.ndarray | None,
        frames: int = 0,
        place: Mapping[str, Any] | None = None,
        sum_M: np.ndarray | None = None,
    ) -> int:
        """Append a recording and return its number. Give its frames [F > 0, 80], or their number and the `place` it is
        read from; `sum_M` [80] is the sum of its frames. Raises ValueError if recordings differ in which of these they
        have, or for no frames.
        """
        if mel_FM is not None:
            if mel_FM.ndim != 2 or mel_FM.shape[1] != BINS or len(mel_FM) == 0:
                raise ValueError(
                    f"{self.folder}: recording {len(self)} has frames {mel_FM.shape}, expected [F > 0, {BINS}]."
                )
            frames = len(mel_FM)
        if frames < 1:
            raise ValueError(f"{self.folder}: recording {len(self)} has no frames.")
        if len(self) and ((mel_FM is None) != (self._mel is None) or (sum_M is None) != (self._sums is None)):
            raise ValueError(f"{self.folder}: recording {len(self)} has other parts than those before.")
        if mel_FM is not None:
            self._mel = self._mel or ColumnWriter(self.folder / "mel.f16", "<f2")
            self._mel.extend(mel_FM)
        if sum_M is not None:
            self._sums = self._sums or ColumnWriter(self.folder / "sums.f64", "<f8")
            self._sums.extend(sum_M)
        if place is not None:
            self._places = self._places or open(self.folder / "recordings.jsonl", "wb")
            self._places.write(json.dumps(dict(place), ensure_ascii=False).encode() + b"\n")
        self.frames += frames
        self._starts.append(self.frames)
        return len(self) - 1

    def close(self) -> None:
        for file in (self._starts, self._mel, self._sums, self._places):
            if file is not None:
                file.close()

    def __enter__(self) -> RecordingsWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Recordings:
    """Read a folder of recordings; frames stay on disk until asked for.

    `root` is the base of relative paths of recordings that are read on the fly, `normalisation` how they are
    normalised. If the corpus knows better, `where` gives the recording with a number.
    """

    def __init__(
        self,
        folder: Path,
        root: Path | None = None,
        normalisation: str = "bins",
        where: Callable[[int], Recording] | None = None,
    ) -> None:
        self.folder, self.root, self.normalisation, self.where = Path(folder), root, normalisation, where

    def __reduce__(self) -> tuple[Any, ...]:
        return Recordings, (self.folder, self.root, self.normalisation, self.where)  # another process opens them again

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def stored(self) -> bool:
        """Whether the frames are stored, instead of computed from recordings."""
        return (self.folder / "mel.f16").exists()

    @cached_property
    def starts(self) -> np.ndarray:
        """Index of the first frame of each recording, and the end of the last, int64 [recordings + 1]."""
        return column(self.folder / "frames.i64", "<i8")

    @cached_property
    def sums(self) -> np.ndarray:
        """Sum over each recording's frames, float64 [recordings, 80], if features are normalised by speaker."""
        return column(self.folder / "sums.f64", "<f8").reshape(-1, BINS)

    @cached_property
    def _mel(self) -> np.ndarray:
        return column(self.folder / "mel.f16", "<f2").reshape(-1, BINS)

    @cached_property
    def _lines(self) -> list[bytes]:
        return (self.folder / "recordings.jsonl").read_bytes().splitlines()

    def written(self, index: int) -> Recording:
        """The recording with this number, at its location when the folder was written."""
        from ablate.data.audio import Recording  # imports torch, which not every reader of tables needs

        return Recording.of(json.loads(self._lines[index]), self.root or Path())

    def mel(self, index: int) -> np.ndarray:
        """Frames of a recording: float16 [F, 80], a view of the file, or computed from the recording.

        Raises UserError naming a recording that is missing or has changed.
        """
        first, last = int(self.starts[index]), int(self.starts[index + 1])
        if self.stored:
            return self._mel[first:last]
        from ablate.data.audio import features

        recording = self.written(index) if self.where is None else self.where(index)
        mel_FM = features(recording, self.normalisation)
        if len(mel_FM) != last - first:
            raise UserError(
                f"{recording}: has {len(mel_FM)} frames, expected {last - first}; it changed after the corpus was made."
            )
        return mel_FM
