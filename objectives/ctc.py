"""Connectionist temporal classification (Graves et al. 2006) over packed speech positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.batch import Text, View, Vocabulary
from encoders.encoding import Encoding
from encoders.ranges import Probability
from objectives import search
from objectives.log_softmax import log_softmax_at
from objectives.objective import AbstractObjective, ObjectiveConfig, Ports, Term, ViewSpec
from objectives.padded import Rectangle, segments
from objectives.supervised_views import SpecAugment
from objectives.views import Clean


def required(ids: list[int]) -> int:
    """Minimum number of positions for a label sequence: one per label, and one blank between equal neighbours."""
    return len(ids) + sum(a == b for a, b in zip(ids, ids[1:]))


def least(ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`required` of each of many packed label sequences, int64 [B]; `lengths` [B] may be 0."""
    ends = np.cumsum(lengths)
    repeats = np.concatenate([[0], np.cumsum(ids[1:] == ids[:-1])])  # before each id, counted from the second on
    last, first = (np.clip(at, 0, max(0, len(ids) - 1)) for at in (ends - 1, ends - lengths))
    return lengths + np.where(lengths > 1, repeats[last] - repeats[first], 0)


def lines(text: Text) -> list[list[int]]:
    """The ids of each text; a GPU is waited for once, not once a text."""
    ids = text.ids_S.tolist()
    return [ids[end - n : end] for n, end in zip(text.lengths, accumulate(text.lengths))]


def count(references: Text, positions: tuple[int, ...]) -> tuple[float, int]:
    """Labels of the feasible utterances (an empty transcript counts as one), and the number of infeasible ones."""
    labels, infeasible = 0, 0
    for ids, n in zip(lines(references), positions, strict=True):
        feasible = required(ids) <= n
        labels += max(1, len(ids)) if feasible else 0
        infeasible += not feasible
    return float(labels), infeasible


class CTC(AbstractObjective):
    """-log p(labels | speech), summed over utterances, counted in labels.

    Reads `references["transcript"]`: a `Text` of label ids without special tokens. The blank is the class after the
    vocabulary. An utterance with fewer positions than its labels need contributes neither loss nor count; the metric
    `infeasible` is the share of such utterances.
    """

    reads: ClassVar[str] = "speech"
    term_weights: Mapping[str, float] = {"ctc": 1.0}

    @dataclass(frozen=True, kw_only=True)
    class Config(ObjectiveConfig):
        """CTC on the joint stage, over the labels' vocabulary (the encoder's unless another is given)."""

        tag: ClassVar[str] = "ctc"

        dropout: Probability = 0.1
        """Dropout before the output layer."""
        view: SpecAugment = SpecAugment()
        """Augmentation of the encoder's input in training."""

        def build(self, ports: Ports, targets: Vocabulary | None = None) -> CTC:
            return CTC(self, ports, targets or ports.vocabulary)

    def __init__(self, config: Config, ports: Ports, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.augmented = config.view
        self.vocabulary = vocabulary
        self.blank = vocabulary.size
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(ports.width, vocabulary.size + 1)

    @property
    def view(self) -> ViewSpec:
        """Augmented in training, clean in evaluation."""
        return self.augmented if self.training else Clean()

    def counts(self, view: View) -> Mapping[str, float]:
        return {"ctc": count(view.references["transcript"], view.speech_lengths)[0]}

    def forward(self, view: View, encoding: Encoding, targets: Mapping[str, Any]) -> Mapping[str, Term]:
        labels = view.references["transcript"]
        x_TD, lengths = segments(encoding, "speech")
        total = ctc_loss(self.dropout(x_TD), self.output, lengths, labels)
        infeasible = count(labels, lengths)[1]
        return {"ctc": Term(total, {"infeasible": (float(infeasible), float(len(lengths)))})}

    def least(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        return least(ids, lengths)

    @torch.no_grad()
    def decode(self, encoding: Encoding, beam: int = 1) -> list[list[int]]:
        """Best path per utterance: argmax, repeats merged, blanks (and specials) dropped; with a beam, best labels."""
        x_TD, lengths = segments(encoding, "speech")
        if beam > 1:
            log_p_TV = self.output(x_TD).float().log_softmax(1).cpu()
            specials = self.vocabulary.specials
            return [search.ctc_prefixes(part.numpy(), self.blank, beam, specials) for part in log_p_TV.split(lengths)]
        best_T = self.output(x_TD).argmax(1)
        keep_T = best_T >= self.vocabulary.specials
        keep_T &= best_T != self.blank
        same_T = best_T[1:] == best_T[:-1]
        starts = torch.tensor(lengths[:-1], dtype=torch.long, device=best_T.device).cumsum(0)
        same_T[starts - 1] = False  # equal labels across an utterance border are not a repeat
        keep_T[1:] &= ~same_T
        return [ids[keep].tolist() for ids, keep in zip(best_T.split(lengths), keep_T.split(lengths))]


def ctc_loss(x_TD: Tensor, output: nn.Linear, lengths: tuple[int, ...], labels: Text) -> Tensor:
    """Sum over utterances of -log p(labels | x), the blank being the last class of `output`; infeasible ones give 0.

    The recursion uses an alphabet of each utterance's own labels, some fifteen classes instead of hundreds.
    """
    blank = output.out_features - 1
    said = lines(labels)
    alphabets = [list(dict.fromkeys(line)) for line in said]
    size = max(map(len, alphabets)) + 1
    class_BK = torch.tensor([a + [blank] * (size - len(a)) for a in alphabets])  # the last is always the blank
    own_S = torch.tensor([a.index(i) for a, line in zip(alphabets, said) for i in line], dtype=torch.long)
    feasible_B = torch.tensor([required(line) <= n for line, n in zip(said, lengths)], device=x_TD.device)

    rectangle = Rectangle(lengths, x_TD.device)
    sequence_T = rectangle.index_N // rectangle.shape[1]
    log_p_TK = log_softmax_at(x_TD, output, class_BK.to(x_TD.device)[sequence_T])
    loss = F.ctc_loss(
        rectangle.pad(log_p_TK).transpose(0, 1),
        own_S.to(x_TD.device),
        torch.tensor(lengths),
        torch.tensor(labels.lengths),
        blank=size - 1,
        reduction="sum",
        zero_infinity=True,
    )
    # The kernel's gradient assumes that its classes are complete and sum to 1: p - posterior for each class. Ours are
    # only some classes of a softmax, so p is subtracted again; the value stays the same.
    mass = (log_p_TK.exp() * feasible_B[sequence_T, None]).sum()
    return loss + (mass.detach() - mass)
