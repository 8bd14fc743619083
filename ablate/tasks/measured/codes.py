"""What a leaf's speech codes represent: phones, or voice and noise; how many are used, and how certain they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ablate.data import packing
from ablate.data.table import Example
from ablate.tasks.measured.information import adjusted, perplexity
from ablate.tasks.task import AbstractMeasure, Dataset, Metric, Score, TaskConfig
from ablate.training.loop import Model, context
from encoders import seeds
from encoders.batch import Batch, Vocabulary
from encoders.frontend import STRIDE
from encoders.ranges import Natural, Size
from objectives.mixture import moved
from objectives.quantizer import AbstractTargets
from objectives.views import Clean

PERPLEXITY = Metric("perplexity", "higher", "")
AGREEMENT = Metric("agreement", "higher")
PHONE_NMI = Metric("phone_nmi", "higher")
VOICE_NMI = Metric("voice_nmi", "lower")
NOISE_NMI = Metric("noise_nmi", "lower")
SILENCE = "_"  # the phone before an utterance's first phone
PREFERRED = ("masked_speech", "contrastive")  # their targets are measured if several objectives have targets


@dataclass(frozen=True)
class Coded:
    """One utterance: its codes without noise, and the number of codes on which two noisy draws agree."""

    best_TG: np.ndarray
    agreed: int


class SpeechCodes(AbstractMeasure):
    """Quality of the speech targets' codes, at all positions of clean, unmasked utterances.

    `perplexity` is that of the codes in use. `agreement` is how often two draws with training noise give the same code
    (100 % for fixed codes). `phone_nmi`, `voice_nmi` and `noise_nmi` are the shares of the entropy of phone, voice and
    noise level (terciles of SNR) that the codes explain, adjusted for chance: good codes explain much of the first and
    little of the others. Labels that the table lacks are left out. Several groups of codes are averaged.
    """

    reads = "speech"
    columns = ()
    sees = ("speech",)
    baseline_split = "dev"
    metrics = (PERPLEXITY, AGREEMENT, PHONE_NMI, VOICE_NMI, NOISE_NMI)

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """Held-out unlabelled speech of many voices that is not used for selection. Nothing is trained.

        A row may have `voice`, `snr` (dB) and `phones`: [first frame, name] of each phone in order.
        """

        tag: ClassVar[str] = "codes"

        table: str = "speech"
        splits: tuple[str, ...] = ("dev",)
        steps: Natural = 0
        items: Size = 16
        """Number of utterances encoded at once."""
        shuffles: Size = 20
        """Number of shuffles of the labels from which chance is estimated."""

    @classmethod
    def fits(cls, objectives: Mapping[str, Any]) -> bool:
        return measured(objectives) is not None

    @torch.no_grad()
    def measure(self, model: Model, dataset: Dataset, vocabulary: Vocabulary) -> list[Coded]:
        targets = model.mixture.targets[measured(model.mixture.objectives)]
        utterances: list[Coded] = []
        for number, draws in enumerate(dataset.chunks(self.config.items)):
            batch = Batch(packing.speech(dataset.table, draws, 0))
            view = Clean().build(batch, context(model.encoder, batch, vocabulary, 0))
            view = moved(view, next(model.encoder.parameters()).device)
            x_TD = targets.read(view, model.encoder(view))
            best_TG = targets.codes(x_TD, 0, 1.0).best_IG
            one_TG, two_TG = (drawn(targets, x_TD, seeds.key(0, "codes/draw", number, draw)) for draw in (0, 1))
            parts = (x.cpu().split(view.speech_lengths) for x in (best_TG, one_TG == two_TG))
            utterances += [Coded(best.numpy(), int(agreed.sum())) for best, agreed in zip(*parts)]
        return utterances

    def score(self, rows: Sequence[Example], hypotheses: Sequence[Coded]) -> tuple[list[Score], list[Example]]:
        lengths = [len(coded.best_TG) for coded in hypotheses]
        codes_NG = np.concatenate([coded.best_TG for coded in hypotheses])
        n, what = len(rows), f"clean|all {len(codes_NG)} positions"
        agreement = 100 * sum(coded.agreed for coded in hypotheses) / codes_NG.size
        scores = [
            PERPLEXITY.score(np.mean([perplexity(codes_N) for codes_N in codes_NG.T]), n, f"{what}|noise-free"),
            AGREEMENT.score(agreement, n, f"{what}|two draws at the last temperature"),
        ]
        signature = f"{what}|noise-free|I/H|adjusted by {self.config.shuffles} shuffles of "
        for metric, labels_N, shuffled, how in self._labels(rows, lengths):
            nmi = np.mean([adjusted(codes_N, labels_N, shuffled) for codes_N in codes_NG.T])
            scores.append(metric.score(100 * nmi, n, signature + how))
        return scores, [
            {"id": row["id"], "codes": coded.best_TG.size, "agreed": coded.agreed, "best": coded.best_TG.tolist()}
            for row, coded in zip(rows, hypotheses, strict=True)
        ]

    def _labels(
        self, rows: Sequence[Example], lengths: Sequence[int]
    ) -> Iterator[tuple[Metric, np.ndarray, list[np.ndarray], str]]:
        """For each known kind of label: the metric, the labels of the positions, shuffles of these, and how they were
        shuffled.

        Shuffles keep the structure that makes chance larger than for independent positions: phones, which last for
        several positions, are shifted against the codes; voices and noise levels are swapped between whole utterances.
        """
        if known(rows, "phones"):
            phones_N = numbered([phone for row, n in zip(rows, lengths) for phone in phones_at(row["phones"], n)])
            if varied(phones_N):
                rng, n = seeds.rng(seeds.key(0, "codes/shift")), len(phones_N)
                shifts = rng.integers(n // 10, n - n // 10, self.config.shuffles)
                yield PHONE_NMI, phones_N, [np.roll(phones_N, shift) for shift in shifts], "phones shifted"
        for metric, field, labelled in ((VOICE_NMI, "voice", numbered), (NOISE_NMI, "snr", terciles)):
            if known(rows, field) and varied(labels_B := labelled([row[field] for row in rows])):
                rng = seeds.rng(seeds.key(0, f"codes/{field}"))
                orders = [rng.permutation(len(rows)) for _ in range(self.config.shuffles)]
                shuffled = [np.repeat(labels_B[order], lengths) for order in orders]
                yield metric, np.repeat(labels_B, lengths), shuffled, "utterances"


def measured(objectives: Mapping[str, Any]) -> str | None:
    """Name of the speech targets to measure, among those that objectives (or their configs) need; None without any."""
    first = [objectives[name] for name in PREFERRED if name in objectives]
    return next((need for objective in [*first, *objectives.values()] for need in objective.needs), None)


def drawn(targets: AbstractTargets, x_ID: Tensor, key: int) -> Tensor:
    """Codes as drawn at the end of training, with noise if they are learned."""
    targets.train()
    ids_IG = targets.codes(x_ID, key, 1.0).ids_IG
    targets.eval()
    return ids_IG


def phones_at(phones: Sequence[tuple[int, str]], positions: int) -> list[str]:
    """The phone at the centre of each position; a phone lasts until the next begins, the last one to the end."""
    centres = STRIDE * np.arange(positions) + STRIDE / 2
    which = np.searchsorted([start for start, _ in phones], centres, side="right")
    names = [SILENCE, *(name for _, name in phones)]
    return [names[i] for i in which]


def known(rows: Sequence[Example], field: str) -> bool:
    """Whether every row has the field."""
    return all(row.get(field) is not None for row in rows)


def numbered(labels: Sequence[str]) -> np.ndarray:
    """Map labels to whole numbers from 0."""
    return np.unique(np.asarray(labels), return_inverse=True)[1]


def terciles(values: Sequence[float]) -> np.ndarray:
    """0, 1 or 2 for the lowest, middle and highest third."""
    return np.searchsorted(np.quantile(values, [1 / 3, 2 / 3]), values)


def varied(labels: np.ndarray) -> bool:
    """Whether chance can be estimated: more than one label, and some label more than once."""
    return 1 < len(np.unique(labels)) < len(labels)
