"""How much of each stream an optimizer update holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one optimizer update holds, per stream; streams that no objective reads are not drawn."""

    tag: ClassVar[str] = "update"

    speech: float = 24.0
    """Seconds of unlabelled speech."""
    text: int = 400
    """Tokens of unlabelled text."""
    pairs: int = 8
    """Speech-text pairs."""
    shards: int = 1
    """Pieces that go through forward and backward alone; batch statistics are over a shard."""
    bucket: int = 0
    """Items among which those of about one length are brought together; 0 packs them as they are drawn."""
