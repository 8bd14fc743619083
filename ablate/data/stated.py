"""A corpus of which only the size is stated, so that a sweep over it can be planned where it is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ablate.data.table import CorpusConfig
from ablate.errors import UserError


@dataclass(frozen=True, kw_only=True)
class StatedConfig(CorpusConfig):
    """Sizes of corpora that need not be here; estimates are made of them. A sweep over them is planned, never run."""

    recipe: ClassVar[int] = 1
    absent: ClassVar[str] = (
        "data: stated has sizes and no data, so that this sweep can only be planned (--dry-run); to run it, say data=real "
        "data.root=PATH."
    )

    speech: float = 1000.0
    """Hours of unlabelled speech."""
    text: float = 1e8
    """Tokens of unlabelled text."""
    pairs: float = 100.0
    """Hours of speech with transcripts."""
    utterance: float = 12.0
    """Seconds of a typical utterance, as it is packed."""
    document: int = 128
    """Tokens of a typical text, as it is packed."""

    def prepare(self, run: Any) -> dict[str, Any]:
        raise UserError(self.absent)
