"""How much the matching speech helps a leaf to predict masked text: TLM's own effect (docs/paper.md, section 10.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ablate.data import packing
from ablate.data.table import Example
from ablate.errors import UserError
from ablate.tasks.measured.retrieval import alike
from ablate.tasks.task import AbstractMeasure, Baseline, Dataset, Metric, Score, TaskConfig
from ablate.training.loop import Model, context
from encoders.batch import Batch, Pair, Speech, Text, View, Vocabulary
from encoders.ranges import Natural, PositiveShare, Size
from objectives.masking import TextRule
from objectives.mixture import moved
from objectives.objective import AbstractObjective, gathered
from objectives.views import Clean

LOSS_DROP = Metric("loss_drop", "higher", "nats")
LOSS = Metric("loss", "lower", "nats")


@dataclass(frozen=True)
class Losses:
    """One pair: its number of masked tokens, and their summed loss with the matching and with the other speech."""

    tokens: int
    true: float
    other: float


@dataclass(frozen=True)
class Shown:
    """A view of partly masked texts beside whole utterances; the head that predicts the masked tokens; the number of
    masked tokens.
    """

    view: View
    head: nn.Module
    tokens: list[int]

    @staticmethod
    def of(model: Model, speech: Speech, text: Text, share: float, vocabulary: Vocabulary) -> Shown:
        """Mask `share` of each text's tokens, for the head that `guesser` finds in the leaf."""
        objective = guesser(model.mixture.objectives)
        head, text_first = objective.text_head, objective.view.text_first
        seen, masked_I, ids_I, _ = TextRule(share=share).apply(text, vocabulary)
        batch = Batch(Pair(speech, seen))
        view = Clean(text_first=text_first).build(batch, context(model.encoder, batch, vocabulary, 0))
        view = replace(view, text_masked_I=masked_I, text_targets_I=ids_I)
        text_S = np.repeat(np.arange(len(text.lengths)), text.lengths)
        tokens = np.bincount(text_S[masked_I.numpy()], minlength=len(text.lengths)).tolist()
        return Shown(moved(view, next(model.encoder.parameters()).device), head, tokens)


class Pairing(AbstractMeasure):
    """Drop in masked-text loss, per masked token, when the matching speech stands beside the text.

    It is compared with the speech of another sentence of nearest duration. In both cases the same tokens are masked,
    half of them in spans of 5 (the paper's TLM) whatever the row was trained with; the speech is unmasked; and the loss
    is that of TLM's head or, in rows without TLM, of the masked-text head.
    """

    reads = "pair"
    columns = ("text",)
    sees = ("pair",)
    baseline_split = "dev"
    metrics = (LOSS_DROP, LOSS)

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """Held-out pairs: a table with audio, `text` and `seconds`. Nothing is trained."""

        tag: ClassVar[str] = "pairing"

        table: str = "retrieval"
        steps: Natural = 0
        items: Size = 16
        """Number of pairs encoded at once."""
        share: PositiveShare = 0.5
        """Share of the text's tokens to mask."""

    @classmethod
    def fits(cls, objectives: Mapping[str, Any]) -> bool:
        return any(objective.guesses_text for objective in objectives.values())

    @torch.no_grad()
    def measure(self, model: Model, dataset: Dataset, vocabulary: Vocabulary) -> list[Losses]:
        losses: list[Losses] = []
        for text, spoken in beside_both(dataset, self.config.items):
            (tokens, true), (_, other) = (self._losses(model, speech, text, vocabulary) for speech in spoken)
            losses += map(Losses, tokens, true, other)
        return losses

    def _losses(
        self, model: Model, speech: Speech, text: Text, vocabulary: Vocabulary
    ) -> tuple[list[int], list[float]]:
        """Number of masked tokens of each text, and their summed loss beside `speech`."""
        shown = Shown.of(model, speech, text, self.config.share, vocabulary)
        x_ID = gathered(model.encoder(shown.view), "joint", "text", shown.view.text_masked_I)
        return shown.tokens, sums(shown.head, x_ID, shown.view.text_targets_I, shown.tokens)

    def score(self, rows: Sequence[Example], hypotheses: Sequence[Losses]) -> tuple[list[Score], list[Example]]:
        tokens = sum(losses.tokens for losses in hypotheses)
        true, other = (sum(getattr(losses, side) for losses in hypotheses) / tokens for side in ("true", "other"))
        signature = f"{100 * self.config.share:g}% of the pieces hidden, {tokens} in all|speech whole"
        return [
            LOSS_DROP.score(other - true, len(rows), f"{signature}|other sentence of nearest duration - true"),
            LOSS.score(true, len(rows), signature),
        ], [
            {
                "id": row["id"],
                "reference": row["text"],
                LOSS.name: [losses.true, losses.tokens],
                LOSS_DROP.name: [losses.other - losses.true, losses.tokens],
            }
            for row, losses in zip(rows, hypotheses, strict=True)
        ]

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        return [Baseline("speech ignored", LOSS_DROP.name, 0.0)]


def guesser(objectives: Mapping[str, AbstractObjective]) -> AbstractObjective:
    """The objective of a leaf whose head predicts text: one on pairs before one on text alone."""
    guessing = [objective for objective in objectives.values() if objective.text_head is not None]
    return min(guessing, key=lambda objective: objective.reads != "pair")


def beside_both(dataset: Dataset, items: int) -> Iterator[tuple[Text, tuple[Speech, Speech]]]:
    """Texts in chunks of `items`, each with the matching speech and with that of another sentence of nearest
    duration.
    """
    others = length_matched(dataset.table.rows)
    for draws in dataset.chunks(items):
        true, other = (
            packing.speech(dataset.table, whose, 0, stream="pair")
            for whose in (draws, [(slot, others[index]) for slot, index in draws])
        )
        yield packing.text(dataset.tokens("text"), draws, 0, stream="pair/text"), (true, other)


def length_matched(rows: Sequence[Example]) -> list[int]:
    """For each item, the index of the item with another text whose speech is nearest in duration."""
    allowed = alike(rows, 2)
    np.fill_diagonal(allowed, False)
    if not allowed.any(1).all():
        raise UserError("All pairs have the same text; pairing needs another sentence to compare with.")
    return allowed.argmax(1).tolist()


def sums(head: nn.Module, x_ID: Tensor, ids_I: Tensor, counts: Sequence[int]) -> list[float]:
    """Summed loss of each text's masked tokens; `counts` are their numbers."""
    parts = zip(x_ID.split(list(counts)), ids_I.split(list(counts)), strict=True)
    return [float(head(x_JD, ids_J).total) for x_JD, ids_J in parts]
