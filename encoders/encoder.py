"""The contract every encoder keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from encoders.batch import View, Vocabulary
from encoders.encoding import Encoding


@dataclass(frozen=True, kw_only=True)
class EncoderConfig(ABC):
    """Base of encoder configs; `reads` names the inputs the encoder has parts for."""

    reads: tuple[str, ...] = ("speech", "text", "pair")

    @abstractmethod
    def build(self, vocabulary: Vocabulary) -> AbstractEncoder:
        """Make the encoder with freshly initialised weights (the caller has seeded torch)."""


class AbstractEncoder(nn.Module, ABC):
    """Turns a view into an encoding."""

    reads: frozenset[str]
    width: int
    embedding: nn.Embedding | None  # token embedding; None when text is not read

    @abstractmethod
    def subsampled(self, frames: tuple[int, ...]) -> tuple[int, ...]:
        """Speech positions for utterances of so many mel frames, without running anything; at least 1 each."""

    @abstractmethod
    def forward(self, view: View) -> Encoding:
        """Encode; a sequence's result does not depend on its neighbours in the pack."""
