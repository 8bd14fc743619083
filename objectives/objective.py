"""The contract of an objective: a view and a score.

A *view* says what the encoder is shown; the *score* turns the encoding into summed losses whose counts are known before
anything runs. Objectives with equal views share one encoder pass. Totals are sums; only the mixture divides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from encoders.batch import Batch, View, Vocabulary
from encoders.encoding import Encoding
from encoders.owner import Owner
from encoders.ranges import NonNegative


@dataclass(frozen=True)
class Ports:
    """What an encoder offers to the modules that build on it."""

    width: int
    vocabulary: Vocabulary
    embedding: nn.Embedding | None  # the encoder's token embedding, for tied softmaxes
    stacked: int = 320  # channels of the encoding stage "stacked"
    targets: Mapping[str, Any] = field(default_factory=dict)  # speech targets that will exist: name -> TargetsConfig


@dataclass(frozen=True)
class Term:
    """One summed loss (a sum, never a mean) and metrics as name -> (sum, count)."""

    total: Tensor
    metrics: Mapping[str, tuple[Tensor | float, Tensor | float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ViewContext:
    """What a view may depend on besides the batch."""

    speech_lengths: tuple[int, ...]  # positions per utterance after subsampling; () without speech
    vocabulary: Vocabulary
    key: int  # random key of (seed, step, shard) for draws about the whole shard


@dataclass(frozen=True)
class ViewSpec(ABC):
    """A rule that makes a View of a Batch; frozen and hashable, so that equal views are made and encoded once."""

    text_first: ClassVar[bool] = True
    """Whether the text of a pair comes before its speech; a field in views with a choice."""

    @abstractmethod
    def build(self, batch: Batch, context: ViewContext) -> View:
        """Make the view; random draws come from the sequences' own keys or from `context.key`."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(ABC):
    """Base of objective configs. `weight` 0 measures the loss without training the encoder on it."""

    owner: ClassVar[Any]
    """The objective's class; set when that is defined."""

    guesses_text: ClassVar[bool] = False
    """Whether the objective has a `text_head`; the plan uses this to choose what is measured on a leaf."""
    judges_pairs: ClassVar[bool] = False
    """Whether the objective has `whole_pairs` and `logits`."""

    weight: NonNegative = 1.0
    """Weight of the loss in the sum of all losses; at 0 it is measured and trains nothing of the encoder."""

    @property
    def shown(self) -> tuple[str, ...]:
        """Inputs that the encoder must read: those of the stream that the view shows."""
        return (self.owner.reads,)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the speech targets that the objective uses."""
        return ()

    @property
    def trains(self) -> tuple[str, ...]:
        """Names of the speech targets whose codes this loss trains, if they are learned."""
        return ()

    def note(self) -> str:
        """What readers of the settings should know although the settings do not say it; or ''."""
        return ""

    def check(self, targets: Mapping[str, Any]) -> None:  # noqa: B027  not abstract: most accept all targets
        """Raise ValueError if the objective does not work with these speech targets (configs by name)."""

    @abstractmethod
    def build(self, ports: Ports) -> AbstractObjective:
        """Make the objective's module (heads included)."""


class AbstractObjective(Owner, nn.Module, ABC):
    """A loss: the view it needs, and how it scores an encoding of that view."""

    reads: ClassVar[str]  # "speech", "text" or "pair": the stream that it reads; set on the instance by some
    view: ViewSpec
    languages: tuple[str, ...] = ()  # that it outputs, if there are several and the input must say which
    needs: tuple[str, ...] = ()  # names of speech targets it uses, e.g. ("learned",); made once per view by the mixture
    term_weights: Mapping[str, float]  # of each term within the objective, e.g. {"contrastive": 1, "diversity": .1}
    whole_pairs: ViewSpec | None = None  # if it distinguishes true from false pairs: its view with only true pairs

    @property
    def text_head(self) -> nn.Module | None:
        """The head that predicts masked pieces of text, if it has one: called with their vectors x_ID of "joint" and
        their ids_I, it returns a Term whose total is the summed loss.
        """
        return None

    def logits(self, encoding: Encoding) -> Tensor:
        """Scores [B, 2] of each pair being false and true; only if there are `whole_pairs`."""
        raise NotImplementedError(f"{type(self).__name__} does not judge pairs.")

    def least(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray | None:
        """Fewest positions of speech with which it can score each reference, int [B], of packed `ids` and `lengths`
        [B] in ids; None if any number will do.
        """
        return None

    @abstractmethod
    def counts(self, view: View) -> Mapping[str, float]:
        """Number of things that will be summed, per term, known from the view alone; 0 is valid."""

    @abstractmethod
    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        """Score the encoding: one Term per key of `counts`."""

    def close(self, sum_: Callable[[Tensor], Tensor]) -> None:
        """End an update, after all its shards: add it, summed over ranks by `sum_`, to whatever is kept over updates.
        All ranks call it in the same order.
        """


def gathered(encoding: Encoding, stage: str, modality: str, index_I: Tensor) -> Tensor:
    """Rows x_ID of `stage` at packed positions of one modality (into T for speech, into S for text)."""
    x_ND = encoding.stages[stage]
    if stage == "joint" and set(encoding.layout.modalities) != {modality}:
        index_I = encoding.layout.positions(modality).index_select(0, index_I)
    return x_ND.index_select(0, index_I)


def check_share(what: str, value: float) -> None:
    """Raise ValueError unless 0 < `value` <= 1."""
    if not 0 < value <= 1:
        raise ValueError(f"{what} is {value}; expected more than 0 and at most 1.")
