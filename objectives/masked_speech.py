"""Predict the codes of masked frames from their context (w2v-BERT, BEST-RQ)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.batch import View
from encoders.encoding import Encoding
from encoders.ranges import OneOf, PositiveShare, Size
from objectives import targets as speech_targets
from objectives.objective import AbstractObjective, ObjectiveConfig, Ports, Term, gathered
from objectives.quantizer import Codes, TargetsConfig
from objectives.views import HIDDEN, SpeechMask


class CodeHead(nn.Module):
    """A linear softmax over the codes of each group."""

    def __init__(self, width: int, codes: TargetsConfig) -> None:
        super().__init__()
        self.groups = codes.groups
        self.output = nn.Linear(width, codes.groups * codes.entries)

    def forward(self, x_ID: Tensor, codes: Codes) -> Term:
        """-log p(codes | x_ID), summed over positions and averaged over groups."""
        logits_JV = self.output(x_ID).float().view(len(x_ID) * self.groups, -1)
        ids_J = codes.targets_IG.flatten()
        total = F.cross_entropy(logits_JV, ids_J, reduction="sum") / self.groups
        with torch.no_grad():
            right = (logits_JV.argmax(1) == ids_J).sum()
            commonest = sum(torch.bincount(ids_I, minlength=1).max() for ids_I in codes.targets_IG.T)
        count = float(len(ids_J))
        return Term(total, {"accuracy": (right, count), "commonest_code": (commonest, count)})


class MaskedSpeech(AbstractObjective):
    """Masked prediction of speech codes on the joint stage (docs/paper.md, section 2).

    The metric `commonest_code` is the accuracy of always predicting the shard's most frequent code: what `accuracy`
    must beat. This loss does not train learned codes; without the contrastive loss they stay as initialised.
    """

    reads: ClassVar[str] = "speech"
    term_weights: Mapping[str, float] = {"loss": 1.0}

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        """w2v-BERT's masked prediction; with `targets: random_projection`, BEST-RQ's."""

        tag: ClassVar[str] = "masked_speech"

        targets: str = "learned"
        """Name of the speech targets whose codes are predicted."""
        prob: PositiveShare = 0.065
        """Probability that a position starts a masked span."""
        span: Size = 10
        """Positions in a masked span."""
        hides: Annotated[str, OneOf(HIDDEN)] = "features"
        """What noise replaces at masked positions: their "features", or the "frames" of log-mel under them, before the
        front end (BEST-RQ, with prob .04: spans of 400 ms that start at 1 % of the frames)."""

        def __post_init__(self) -> None:
            SpeechMask(prob=self.prob, span=self.span, hides=self.hides)

        def check(self, targets: Mapping[str, TargetsConfig]) -> None:
            codes = targets[self.targets]
            if self.hides == "frames" and codes.input == "features" and not codes.fitted:
                raise ValueError(
                    f"the codes '{self.targets}' are made of features, and with 'hides: frames' those of masked "
                    "positions are hidden from them too; predict codes of log-mel (targets: random_projection), "
                    "or hide features."
                )

        @property
        def needs(self) -> tuple[str, ...]:
            return (self.targets,)

        def build(self, ports: Ports) -> MaskedSpeech:
            return MaskedSpeech(self, ports)

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        self.needs = config.needs
        self.view = SpeechMask(prob=config.prob, span=config.span, hides=config.hides)
        self.head = CodeHead(ports.width, speech_targets.of(ports, config.targets))

    def counts(self, view: View) -> Mapping[str, float]:
        return {"loss": float(sum(view.speech_masked_B))}

    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        x_ID = gathered(encoding, "joint", "speech", view.speech_masked_I)
        return {"loss": self.head(x_ID, targets[self.needs[0]])}
