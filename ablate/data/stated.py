"""A corpus of which only the size is stated, so that a sweep over it can be planned on a machine without the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ablate.data.corpus import CorpusConfig, Split, SplitConfig
from ablate.data.streams import STREAMS
from ablate.errors import UserError
from encoders.ranges import NonNegative, Positive, Size

ABSENT = (
    "data: stated has sizes and no data, so this sweep can only be planned (--dry-run); to run it, set data=real "
    "data.root=PATH."
)


@dataclass(frozen=True, kw_only=True)
class StatedSplit(SplitConfig):
    """A split of which only the name and perhaps the size is known."""

    tag: ClassVar[str] = "stated_split"
    recipe: ClassVar[int] = 1

    table: str
    split: str
    size: float | None
    """Hours of speech or tokens of text, for unlabelled training data if stated."""
    utterance: float
    document: int

    def write(self, run: Any, recordings: Sequence[Any]) -> dict[str, Any]:
        raise UserError(ABSENT)


@dataclass(frozen=True, kw_only=True)
class StatedConfig(CorpusConfig):
    """Sizes of corpora that need not exist here; estimates are based on them. A sweep over them is planned,
    never run.
    """

    tag: ClassVar[str] = "stated"
    absent: ClassVar[str] = ABSENT

    speech: NonNegative = 1000.0
    """Hours of unlabelled speech."""
    text: NonNegative = 1e8
    """Tokens of unlabelled text."""
    pairs: NonNegative = 100.0
    """Hours of speech with transcripts."""
    utterance: Positive = 12.0
    """Seconds of a typical packed utterance."""
    document: Size = 128
    """Tokens of a typical packed text."""

    def lengths(self) -> tuple[float, int]:
        return self.utterance, self.document

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Empty, because nothing is known: any table and split may be asked for."""
        return {}

    def split(self, table: str, split: str) -> Split:
        size = (
            getattr(self, table)
            if split == "train" and table in [stream.table for stream in STREAMS.values()]
            else None
        )
        config = StatedSplit(table=table, split=split, size=size, utterance=self.utterance, document=self.document)
        return Split(config)
