"""The size of an optimizer update, per stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from encoders.ranges import Natural, Positive, Size, Within


@dataclass(frozen=True, kw_only=True)
class Update:
    """How much of each stream one optimizer update holds; streams that no objective reads are not drawn."""

    tag: ClassVar[str] = "update"

    speech: Positive = 24.0
    """Seconds of unlabelled speech."""
    text: Size = 400
    """Tokens of unlabelled text."""
    pairs: Size = 8
    """Speech-text pairs."""
    shards: Size = 1
    """Number of parts that are passed forward and backward separately; batch statistics are over one part."""
    bucket: Natural = 0
    """Number of consecutive items among which those of similar length are packed together; 0: packed as drawn."""
    longest_speech: Annotated[float, Within(0.1)] = field(default=16.0, metadata={"absent": "16.0"})
    """Maximum seconds of an utterance; a longer one is cropped, at another place in each epoch."""
    longest_text: Annotated[int, Within(3)] = field(default=256, metadata={"absent": "256"})
    """Maximum tokens of a text, CLS and SEP included; a longer one is cut into pieces of equal length."""
    longest_pair: Annotated[float, Within(0.1)] = field(default=16.0, metadata={"absent": "16.0"})
    """Maximum seconds of a pair; a longer one is left out, as is one whose text exceeds `longest_text`."""

    def limits(self) -> dict[str, int]:
        """The three maxima as frames (of 10 ms) and tokens, for `ablate.data.packing.streams`."""
        return {
            "max_frames": round(100 * self.longest_speech),
            "max_tokens": self.longest_text,
            "max_pair_frames": round(100 * self.longest_pair),
        }
