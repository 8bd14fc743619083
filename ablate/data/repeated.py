"""Which recordings of a test split are also in the training split, whatever files they lie in."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from ablate.data.table import Table


def repeated(train: Table, test: Table) -> list[int]:
    """Numbers of the rows of `test` with the same frames as a row of `train`: what is decoded alike, as from wav and
    FLAC. Empty unless the frames of both are stored. Of `train` it reads a frame of each row that is as long as one of
    `test`.
    """
    if not (train.has_audio and test.has_audio and train.stored and test.stored):
        return []
    sought: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for row, frames in enumerate(test.frames):
        sought[int(frames), _middle(test, row)].append(row)
    found: set[int] = set()
    for row in np.flatnonzero(np.isin(train.frames, test.frames)):
        same = sought.get((int(train.frames[row]), _middle(train, int(row))), ())
        found.update(one for one in same if np.array_equal(train.raw(int(row)), test.raw(one)))
    return sorted(found)


def _middle(table: Table, row: int) -> bytes:
    mel_FM = table.raw(row)
    return mel_FM[len(mel_FM) // 2].tobytes()
