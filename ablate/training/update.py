"""How much of each stream an optimizer update holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from encoders.ranges import Natural, Positive, Size, Within


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one optimizer update holds, per stream; streams that no objective reads are not drawn."""

    tag: ClassVar[str] = "update"

    speech: Positive = 24.0
    """Seconds of unlabelled speech."""
    text: Size = 400
    """Tokens of unlabelled text."""
    pairs: Size = 8
    """Speech-text pairs."""
    shards: Size = 1
    """Pieces that go through forward and backward alone; batch statistics are over a shard."""
    bucket: Natural = 0
    """Items among which those of about one length are brought together; 0 packs them as they are drawn."""
    longest_speech: Annotated[float, Within(0.1)] = field(default=16.0, metadata={"absent": "16.0"})
    """Seconds of an utterance; a longer one is cropped, elsewhere in each epoch."""
    longest_text: Annotated[int, Within(3)] = field(default=256, metadata={"absent": "256"})
    """Tokens of a text, CLS and SEP included; a longer one is cut into pieces of equal length."""
    longest_pair: Annotated[float, Within(0.1)] = field(default=16.0, metadata={"absent": "16.0"})
    """Seconds of a pair; a longer one is left out, as is one whose text is over `longest_text`."""

    def limits(self) -> dict[str, int]:
        """The three as frames (of 10 ms) and tokens, for `ablate.data.packing.streams`."""
        return {
            "max_frames": round(100 * self.longest_speech),
            "max_tokens": self.longest_text,
            "max_pair_frames": round(100 * self.longest_pair),
        }
