"""Which texts CTC cannot spell with the positions that an encoder makes of their speech."""

from __future__ import annotations

import numpy as np

from ablate.data.tokenizer import Tokens
from encoders.encoder import AbstractEncoder
from objectives.objective import AbstractObjective

AT_ONCE = 1 << 16  # texts that are counted at once
LONG = "transcripts with more labels than the encoder has positions (equal neighbours need one more)"


def out_of_reach(
    objective: AbstractObjective, encoder: AbstractEncoder, tokens: Tokens, frames: np.ndarray
) -> np.ndarray:
    """Which texts need more positions than their speech has, bool [B]; `frames` [B] as read, before perturbation."""
    out = np.zeros(len(tokens), bool)
    for first in range(0, len(tokens), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        begin, lengths = tokens.offsets[first], tokens.lengths[part]
        least = objective.least(np.asarray(tokens.ids[begin : begin + lengths.sum()]), lengths)
        if least is None:
            return out
        out[part] = least > np.array(encoder.subsampled(tuple(map(int, frames[part]))))
    return out
