"""The streams of pre-training: speech, text, pairs. What differs between them is said here, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StreamKind:
    """What is particular to a stream. Its budgets are in frames (of 10 ms), tokens or pairs."""

    table: str
    """Table of a corpus that it draws from, and the field of `Update` that says how much of it an update holds."""
    unit: str
    """Of that field."""
    per_unit: int = 1
    """Frames, tokens or pairs in one such unit."""
    probed: int
    """In each half of the gradient probe. With an eighth of it, no gradient of a nano encoder is reproduced by the
    other half after 1,600 updates."""
    held_out: int
    """In each batch of the held-out losses."""
    packed: int
    """Frames or tokens in a pack of evaluation."""
    positions_per_unit: float
    """Of the encoder, for estimates; a pair is taken to be of 3 s and 12 tokens."""
    positions_per_item: float
    """Of a typical item of a task, for estimates."""

    def of(self, update: Any) -> float:
        """How much of it an update holds, in its unit."""
        return getattr(update, self.table)


STREAMS = {
    "speech": StreamKind(
        table="speech",
        unit="s",
        per_unit=100,
        probed=9600,
        held_out=6000,
        packed=6000,
        positions_per_unit=25.0,
        positions_per_item=60,
    ),
    "text": StreamKind(
        table="text",
        unit="tokens",
        probed=2400,
        held_out=1500,
        packed=1500,
        positions_per_unit=1.0,
        positions_per_item=20,
    ),
    "pair": StreamKind(
        table="pairs",
        unit="pairs",
        probed=48,
        held_out=24,
        packed=6000,
        positions_per_unit=3 * 25.0 + 12,
        positions_per_item=80,
    ),
}
