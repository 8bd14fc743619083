"""Mean subtraction for features that are normalised by speaker, if little is known about a voice.

In a split of a table the mean is over all recordings of a speaker (`ablate.data.table`). For a user with a single
recording that mean is unknown: the recording's own mean is then combined with that of the training speakers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ablate.data.table import Table

KNOWN = 200  # weight, in frames, of the training speakers' mean in that of a new speaker


def less_mean(mels: Sequence[np.ndarray], known_M: np.ndarray) -> list[np.ndarray]:
    """Recordings [F, 80] of one speaker minus that speaker's mean, float16; `known_M` counts in it like two seconds.

    The mean over a single word depends more on the word than on the voice (NOTES.md, 2026-11-26); over a minute
    `known_M` hardly counts.
    """
    mean_M = mean(sum(mel_FM.sum(0, dtype=np.float64) for mel_FM in mels), sum(map(len, mels)), known_M)
    return [less(mel_FM, mean_M) for mel_FM in mels]


def mean(sum_M: np.ndarray, frames: int, known_M: np.ndarray) -> np.ndarray:
    """The mean frame of a speaker, float32 [80], from the sum over that many frames."""
    return ((sum_M + KNOWN * known_M) / (frames + KNOWN)).astype(np.float32)


def less(mel_FM: np.ndarray, mean_M: np.ndarray) -> np.ndarray:
    """Frames minus a speaker's mean, float16 [F, 80]."""
    return (mel_FM - mean_M).astype(np.float16)


class Alone(Table):
    """A table that is normalised by speaker, read as if each recording were the only one of its speaker.

    `known_M` is the mean of the training speakers. `ablate.transcribe` treats a file in the same way.
    """

    def __init__(self, table: Table, known_M: np.ndarray) -> None:
        super().__init__(table.folder, table.name, table.recordings)
        self.known_M = known_M

    def __reduce__(self) -> tuple[Any, ...]:
        return Alone, (Table(self.folder, self.name, self.recordings), self.known_M)

    def mel(self, index: int) -> np.ndarray:
        """Frames of row `index`: float16 [F, 80], minus the mean estimated from this recording alone."""
        return less_mean([self.raw(index)], self.known_M)[0]
