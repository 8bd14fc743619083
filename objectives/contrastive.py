"""Distinguish the true code of a masked frame from codes of other masked frames of its utterance (wav2vec 2.0)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders import seeds
from encoders.batch import View
from encoders.choices import check_choices
from encoders.encoding import Encoding
from encoders.ranges import NonNegative, OneOf, Positive, PositiveShare, Size
from objectives import targets as speech_targets
from objectives.diversity import MovingUse, diversity
from objectives.objective import AbstractObjective, ObjectiveConfig, Ports, Term, gathered
from objectives.quantizer import Codes, TargetsConfig
from objectives.views import SpeechMask

DIVERSITY_OVER = ("shard", "average")


class ContrastiveHead(nn.Module):
    """InfoNCE between projected encodings and projected codes, and the diversity of the codes."""

    def __init__(
        self, width: int, codes: TargetsConfig, final: int | None, negatives: int, kappa: float, over: str
    ) -> None:
        super().__init__()
        self.negatives, self.kappa, self.learned = negatives, kappa, codes.learned
        self.use = MovingUse(codes.groups, codes.entries) if codes.learned and over == "average" else None
        self.from_encoding = nn.Linear(width, final or width)
        self.from_code = nn.Linear(codes.dim, final or width)

    def counts(self, view: View) -> dict[str, float]:
        """Number of masked frames that can have a negative; for the diversity of learned codes, of all masked
        frames.
        """
        counts = {"contrastive": float(sum(n for n in view.speech_masked_B if n > 1))}
        return counts | ({"diversity": float(sum(view.speech_masked_B))} if self.learned else {})

    def forward(self, view: View, encoding: Encoding, stage: str, codes: Codes) -> dict[str, Term]:
        """Score a stage of the encoding, at the view's masked positions, against their codes."""
        x_ID = gathered(encoding, stage, "speech", view.speech_masked_I)
        with encoding.products():
            c_ID, q_ID = self.from_encoding(x_ID), self.from_code(codes.vectors_ID)
        c_ID, q_ID = F.normalize(c_ID.float(), dim=1), F.normalize(q_ID.float(), dim=1)
        speech = view.inputs.speech
        total, metrics = info_nce(
            c_ID, q_ID, codes.ids_IG, view.speech_masked_B, speech.keys, negatives=self.negatives, kappa=self.kappa
        )
        metrics["code_perplexity"] = (code_perplexity(codes) * len(x_ID), float(len(x_ID)))
        terms = {"contrastive": Term(total, metrics)}
        if self.learned:
            agree = (codes.ids_IG == codes.best_IG).sum()
            moving = self.use is not None and self.training
            spread = self.use(codes.mean_GV, len(x_ID)) if moving else diversity(codes.mean_GV)
            terms["diversity"] = Term(len(x_ID) * spread, {"draws_agree": (agree, float(codes.ids_IG.numel()))})
        return terms


def info_nce(
    c_ID: Tensor,
    q_ID: Tensor,
    ids_IG: Tensor,
    masked_B: tuple[int, ...],
    keys: tuple[int, ...],
    negatives: int,
    kappa: float,
) -> tuple[Tensor, dict[str, tuple[Tensor | float, Tensor | float]]]:
    """Sum over masked frames of -log softmax of the true code's similarity among those of distractors.

    `c_ID` and `q_ID` have unit norm. Distractors are `negatives` other masked frames of the same utterance, drawn
    uniformly without replacement (all, if there are fewer), except those with the same code as the positive; a frame
    without distractors gives 0. All similarities of an utterance are one GEMM, of which only scalars are used.
    """
    longest, n = max(1, *masked_B), len(masked_B)
    count_B = torch.tensor(masked_B)
    utterance_I = torch.repeat_interleave(torch.arange(n), count_B)
    within_I = torch.arange(len(utterance_I)) - (count_B.cumsum(0) - count_B)[utterance_I]
    place_I, truth_I = (utterance_I * longest + within_I).to(c_ID.device), within_I.to(c_ID.device)

    def rectangle(x_I: Tensor, fill: float) -> Tensor:
        out = x_I.new_full((n * longest, *x_I.shape[1:]), fill)
        return out.index_copy(0, place_I, x_I).unflatten(0, (n, longest))

    logits_BJJ = torch.bmm(rectangle(c_ID / kappa, 0), rectangle(q_ID, 0).transpose(1, 2))
    code_I = ids_IG[:, 0]
    for ids_I in ids_IG.T[1:]:  # one number per combination of groups
        code_I = code_I * (1 + ids_IG.max()) + ids_I
    code_BJ = rectangle(code_I, -1)
    barred_BJJ = code_BJ.unsqueeze(1) == code_BJ.unsqueeze(2)
    barred_BJJ |= (code_BJ < 0).unsqueeze(1)
    if longest > negatives + 1:  # the next `negatives` frames on a random circle: a uniform subset for each frame
        rank_I = np.argsort(np.lexsort((seeds.uniform(keys, "distractors", masked_B), utterance_I.numpy())))
        rank_BJ = rectangle(torch.from_numpy(rank_I).to(c_ID.device), 0)
        ahead_BJJ = rank_BJ.unsqueeze(1) - rank_BJ.unsqueeze(2)
        size_B11 = count_B.to(c_ID.device).view(n, 1, 1)
        barred_BJJ |= torch.where(ahead_BJJ < 0, ahead_BJJ + size_B11, ahead_BJJ) > negatives
    barred_BJJ.diagonal(dim1=1, dim2=2).fill_(False)  # the positive
    logits_RJ = logits_BJJ.masked_fill_(barred_BJJ, -torch.inf).flatten(0, 1)
    truth_R = truth_I.new_full((n * longest,), -100).index_copy(0, place_I, truth_I)
    total = F.cross_entropy(logits_RJ, truth_R, ignore_index=-100, reduction="sum")
    with torch.no_grad():
        distractors_R = (longest - 1) - barred_BJJ.flatten(0, 1).sum(1)
        scored_R = (distractors_R > 0) & (truth_R >= 0)
        right_R = scored_R & (logits_RJ.argmax(1) == truth_R)
        distractors = distractors_R.index_select(0, place_I).sum()
    possible = float(sum(m for m in masked_B if m > 1))
    return total, {"accuracy": (right_R.sum(), scored_R.sum()), "distractors": (distractors, possible)}


def code_perplexity(codes: Codes) -> Tensor:
    """Perplexity of the codes used at masked frames, averaged over groups."""
    entropies = []
    for ids_I in codes.ids_IG.T:
        share_V = torch.bincount(ids_I) / max(1, len(ids_I))
        entropies.append(torch.special.entr(share_V).sum())
    return torch.stack(entropies).exp().mean()


class Contrastive(AbstractObjective):
    """Contrastive loss over masked frames, with codebook diversity as a separate term.

    As in docs/paper.md, sections 2 and 10.3.
    """

    reads: ClassVar[str] = "speech"

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        """wav2vec 2.0's loss with w2v-BERT's masks."""

        tag: ClassVar[str] = "contrastive"

        at: Annotated[str, OneOf(("speech_tower", "joint"))] = "speech_tower"
        """Encoding stage that is compared with the codes: "speech_tower" (w2v-BERT), or "joint" if no other loss trains
        the top."""
        diversity: NonNegative = 0.1
        """Weight of the diversity term within this objective; no effect on fixed targets."""
        diversity_over: Annotated[str, OneOf(DIVERSITY_OVER)] = field(default="shard", metadata={"absent": '"shard"'})
        """Masked frames over which the diversity term averages code probabilities: those of the "shard" (wav2vec 2.0),
        or a moving "average" over 20 frames per codebook entry. A shard with few frames looks uneven even if the codes
        are used evenly."""
        targets: str = "learned"
        """Name of the speech targets that give the codes."""
        prob: PositiveShare = 0.065
        """Probability that a position starts a masked span."""
        span: Size = 10
        """Positions in a masked span."""
        negatives: Size = 100
        """Maximum number of distractors per masked frame."""
        kappa: Positive = 0.1
        """Temperature of the cosine similarities."""
        final_dim: Size | None = None
        """Width of the projection in which encodings and codes are compared; by default the encoder's width."""

        def __post_init__(self) -> None:
            check_choices(self)

        @property
        def needs(self) -> tuple[str, ...]:
            return (self.targets,)

        @property
        def trains(self) -> tuple[str, ...]:
            return (self.targets,)

        def build(self, ports: Ports) -> Contrastive:
            return Contrastive(self, ports)

    def __init__(self, config: Config, ports: Ports) -> None:
        super().__init__()
        self.at, self.needs = config.at, config.needs
        self.view = SpeechMask(prob=config.prob, span=config.span)
        codes = speech_targets.of(ports, config.targets)
        self.head = ContrastiveHead(
            ports.width, codes, config.final_dim, config.negatives, config.kappa, config.diversity_over
        )
        self.term_weights = {"contrastive": 1.0}
        if codes.learned:
            self.term_weights["diversity"] = config.diversity

    def counts(self, view: View) -> Mapping[str, float]:
        return self.head.counts(view)

    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        return self.head(view, encoding, self.at, targets[self.needs[0]])

    def close(self, sum_: Callable[[Tensor], Tensor]) -> None:
        if self.head.use is not None:
            self.head.use.close(sum_)
