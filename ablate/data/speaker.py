"""The mean that is taken from features that are normalised by speaker, where little of a voice is known.

In a split of a table the mean is over all recordings of a speaker (`ablate.data.table`). Who comes with one recording
has not got those: its own mean then leans on what the speakers of training have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ablate.data.table import Table

KNOWN = 200  # frames that the mean of the training speakers counts in that of a new one


def less_mean(mels: Sequence[np.ndarray], known_M: np.ndarray) -> list[np.ndarray]:
    """Recordings [F, 80] of one speaker less that speaker's mean, float16, of which two seconds are `known_M`.

    The mean over a word says more of the word than of the voice (NOTES.md, 2026-11-26); over a minute `known_M` hardly
    counts.
    """
    all_FM = np.concatenate(mels).astype(np.float64)
    mean_M = (all_FM.sum(0) + KNOWN * known_M) / (len(all_FM) + KNOWN)
    return [(mel_FM - mean_M.astype(np.float32)).astype(np.float16) for mel_FM in mels]


class Alone(Table):
    """A table that is normalised by speaker, read as if each recording were all that there is of its speaker.

    `known_M` is the mean of the training speakers. So `ablate.transcribe` hears a file.
    """

    def __init__(self, table: Table, known_M: np.ndarray) -> None:
        super().__init__(table.folder, table.name, table.recordings)
        self.known_M = known_M

    def __reduce__(self) -> tuple[Any, ...]:
        return Alone, (Table(self.folder, self.name, self.recordings), self.known_M)

    def mel(self, index: int) -> np.ndarray:
        """Frames of row `index`: float16 [F, 80], less the mean that is known from this recording alone."""
        return less_mean([self.raw(index)], self.known_M)[0]
