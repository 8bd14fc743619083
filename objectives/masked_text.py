"""Predict masked pieces of text from their context (BERT, SpanBERT)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.batch import View
from encoders.encoding import Encoding
from encoders.precision import products
from encoders.ranges import OneOf, PositiveShare, Size
from objectives.masking import TEXTS, TextRule
from objectives.objective import AbstractObjective, ObjectiveConfig, Ports, Term, gathered
from objectives.views import TextMask


class TokenHead(nn.Module):
    """BERT's output at masked positions: dense, GELU, norm, then the encoder's own embedding as softmax weights."""

    def __init__(self, ports: Ports) -> None:
        super().__init__()
        if ports.embedding is None:
            raise ValueError("Masked text needs an encoder that reads text; this one has no token embedding.")
        self.transform = nn.Linear(ports.width, ports.embedding.embedding_dim)
        self.norm = nn.LayerNorm(ports.embedding.embedding_dim)
        self.bias_V = nn.Parameter(torch.zeros(ports.embedding.num_embeddings))
        self._tied = (ports.embedding,)  # in a tuple: the encoder's parameter, not one of ours

    def forward(self, x_ID: Tensor, ids_I: Tensor) -> Term:
        """-log p(ids | x_ID), summed over positions.

        Encodings without gradient are only measured, not trained: then the embedding gets no gradient either.
        """
        weight_VD = self._tied[0].weight if x_ID.requires_grad else self._tied[0].weight.detach()
        y_ID = self.norm(F.gelu(self.transform(x_ID).float()))
        with products("fp32", x_ID.device):
            logits_IV = F.linear(y_ID, weight_VD, self.bias_V)
        total = F.cross_entropy(logits_IV, ids_I, reduction="sum")
        with torch.no_grad():  # amax: argmax over a large vocabulary takes as long as the softmax
            right = (logits_IV.gather(1, ids_I[:, None])[:, 0] == logits_IV.amax(1)).sum()
        return Term(total, {"accuracy": (right, float(len(ids_I)))})


class MaskedText(AbstractObjective):
    """Masked language modelling with a tied softmax (docs/paper.md, sections 2 and 10.3)."""

    reads: ClassVar[str] = "text"
    term_weights: Mapping[str, float] = {"loss": 1.0}

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        """SpanBERT as in the paper: 15 % of the pieces, in spans of 5."""

        tag: ClassVar[str] = "masked_text"
        guesses_text: ClassVar[bool] = True

        share: PositiveShare = 0.15
        """Share of the pieces (or words) to mask; at least one span per text."""
        span: Size = 5
        """Pieces (or words) in a span; 1 is BERT's masking of single pieces."""
        geometric: bool = False
        """Draw span lengths from a geometric distribution (p = .2, at most 10) instead of `span`."""
        whole_words: bool = False
        """Count and mask whole words rather than pieces."""
        text: Annotated[str, OneOf(TEXTS)] = "true"
        """Text to predict: "true", or a placebo: "drawn" by corpus frequency (nothing to learn), "renamed" by one fixed
        permutation of the vocabulary."""

        def __post_init__(self) -> None:
            self.rule()

        def rule(self) -> TextRule:
            """The masking rule these fields describe."""
            return TextRule(
                share=self.share,
                span=self.span,
                geometric=self.geometric,
                whole_words=self.whole_words,
                text=self.text,
            )

        def note(self) -> str:
            return self.rule().note()

        def build(self, ports: Ports) -> MaskedText:
            return MaskedText(self, ports)

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        self.view = TextMask(rule=config.rule())
        self.head = TokenHead(ports)

    @property
    def text_head(self) -> TokenHead:
        return self.head

    def counts(self, view: View) -> Mapping[str, float]:
        return {"loss": float(len(view.text_masked_I))}

    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        x_ID = gathered(encoding, "joint", "text", view.text_masked_I)
        with encoding.products():
            scored = self.head(x_ID, view.text_targets_I)
        return {"loss": replace(scored, metrics={**scored.metrics, "span": spans(view)})}


def spans(view: View) -> tuple[float, float]:
    """The metric "span": number of masked units and of spans they were drawn in, whose ratio is the mean length."""
    units, count = view.text_spans
    return float(units), float(count)
