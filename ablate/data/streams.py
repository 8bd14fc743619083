"""The streams of pre-training: speech, text, pairs. All their differences are defined here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StreamKind:
    """The properties of a stream. Its budgets are in frames (of 10 ms), tokens or pairs."""

    table: str
    """The corpus table that it draws from, and also the field of `Update` that sets how much of it an update holds."""
    unit: str
    """Unit of that field."""
    per_unit: int = 1
    """Number of frames, tokens or pairs per unit."""
    probed: int
    """Amount in each half of the gradient probe. With an eighth of it, no gradient of a nano encoder is reproduced by
    the other half after 1,600 updates."""
    held_out: int
    """Amount in each batch of the held-out losses."""
    packed: int
    """Frames or tokens in a pack of evaluation."""
    positions_per_unit: float
    """Encoder positions per unit, for estimates; a pair is assumed to have 3 s and 12 tokens."""
    positions_per_item: float
    """Encoder positions of a typical item of a task, for estimates."""

    def of(self, update: Any) -> float:
        """How much of the stream an update holds, in frames, tokens or pairs."""
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
