"""Predict a label of a whole sequence: a class, or a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.batch import View
from encoders.choices import check_choices
from encoders.encoding import Encoding
from encoders.ranges import Fraction, OneOf, Probability
from objectives.objective import AbstractObjective, ObjectiveConfig, Ports, Term, ViewSpec
from objectives.supervised_views import TokenDropout
from objectives.views import Clean

Label = str | int | float
UNKNOWN = -100  # index of a label that is not a class


class Classification(AbstractObjective):
    """Cross-entropy of each sequence's label, or half the squared error of its number; counted in sequences.

    Reads `references["label"]`: one label per sequence, from those that the objective was built with.
    """

    term_weights: Mapping[str, float] = {"classification": 1.0}

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        """One linear layer on a pooled encoding."""

        tag: ClassVar[str] = "classifier"

        reads: Annotated[str, OneOf(("text", "speech"))] = "text"
        """What is classified: "text" or "speech"."""
        pool: Annotated[str, OneOf(("mean", "first"))] = "mean"
        """One vector per sequence: "mean" of its positions, or its "first" (CLS)."""
        dropout: Probability = 0.1
        """Dropout on the pooled vector."""
        hidden: Fraction = 0.0
        """Probability that a token of the text is replaced by [MASK] in training."""

        def __post_init__(self) -> None:
            check_choices(self)
            if self.hidden and self.reads != "text":
                raise ValueError(
                    f"hidden is {self.hidden} on {self.reads}, but only tokens of text can be hidden; set it to 0."
                )

        def build(self, ports: Ports, labels: tuple[Label, ...] = ()) -> Classification:
            """Make the head for these `labels`; none means regression."""
            return Classification(self, ports, labels)

    def __init__(self, config: Config, ports: Ports, labels: tuple[Label, ...]) -> None:
        super().__init__()
        self.reads = config.reads
        self.augmented: ViewSpec = TokenDropout(prob=config.hidden) if config.hidden else Clean()
        self.pool = config.pool
        self.labels = labels
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(ports.width, max(1, len(labels)))

    @property
    def view(self) -> ViewSpec:
        """Augmented in training, clean in evaluation."""
        return self.augmented if self.training else Clean()

    def counts(self, view: View) -> Mapping[str, float]:
        """Number of items whose label is a known class; dev may have others, for which no loss is defined."""
        known = (label for label in view.references["label"] if not self.labels or label in self.labels)
        return {"classification": float(sum(1 for _ in known))}

    def scores(self, encoding: Encoding) -> Tensor:
        """Logits per class [B, classes], or the number [B, 1]."""
        return self.output(self.dropout(pooled(encoding, self.pool))).float()

    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        scores_BC = self.scores(encoding)
        wanted = view.references["label"]
        if not self.labels:
            error_B = scores_BC.squeeze(1) - torch.tensor(wanted, dtype=torch.float32, device=scores_BC.device)
            return {"classification": Term(error_B.square().sum() / 2)}
        places = [self.labels.index(label) if label in self.labels else UNKNOWN for label in wanted]
        wanted_B = torch.tensor(places, device=scores_BC.device)
        total = F.cross_entropy(scores_BC, wanted_B, reduction="sum", ignore_index=UNKNOWN)
        correct = (scores_BC.argmax(1) == wanted_B).sum()
        return {"classification": Term(total, {"accuracy": (correct, float(len(wanted)))})}

    @torch.no_grad()
    def decode(self, encoding: Encoding) -> list[Label]:
        """The best label (or the number) of each sequence."""
        scores_BC = self.scores(encoding)
        if not self.labels:
            return scores_BC.squeeze(1).tolist()
        return [self.labels[i] for i in scores_BC.argmax(1).tolist()]


def pooled(encoding: Encoding, pool: Literal["mean", "first"]) -> Tensor:
    """One vector per sequence from its joint positions: [B, D]."""
    x_ND, layout = encoding.stages["joint"], encoding.layout
    if pool == "first":
        return x_ND[layout.starts_B]
    lengths_B = torch.tensor(layout.sequence_lengths, device=x_ND.device)
    sums_BD = x_ND.new_zeros(len(lengths_B), x_ND.shape[1]).index_add(0, layout.sequence_N, x_ND)
    return sums_BD / lengths_B[:, None]
