"""Retrieval of transcripts from speech and vice versa, without fine-tuning: a direct measure of alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from ablate.data import packing
from ablate.data.table import Example
from ablate.tasks.scoring import baselines
from ablate.tasks.task import AbstractMeasure, Baseline, Dataset, Metric, Score, TaskConfig
from ablate.training.loop import Model, context
from encoders.batch import Batch, Speech, Text, View, Vocabulary
from encoders.encoder import AbstractEncoder
from encoders.ranges import Natural, Size, Within
from objectives.classification import pooled
from objectives.mixture import moved
from objectives.views import Clean

RECALLS = {k: Metric(f"recall@{k}", "higher") for k in (1, 5, 10)}
SIGNATURE = "mean pool|modality mean removed|cosine|both directions|{} candidates nearest in duration"


class Retrieval(AbstractMeasure):
    """Recall of the true partner among candidates of similar duration, in both directions.

    Speech and text are encoded separately and averaged over their positions, and each modality's mean over the split is
    subtracted. Duration alone reveals the partner (docs/paper.md, section 10.2), so the candidates of a pair are the
    items whose speech is nearest to it in duration, including itself and excluding equal transcripts. What duration
    alone still achieves is a baseline, whose line is fitted on dev.
    """

    reads = "pair"
    columns = ("text",)
    sees = ("speech", "text")
    baseline_split = "dev"
    metrics = tuple(RECALLS.values())

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """Retrieval over a table with audio, `text` and `seconds`. Nothing is trained."""

        tag: ClassVar[str] = "retrieval"

        table: str = "retrieval"
        steps: Natural = 0
        candidates: Annotated[int, Within(2)] = 50
        """Number of items to choose from, including the true one."""
        items: Size = 16
        """Number of items encoded at once."""

    def measure(self, model: Model, dataset: Dataset, vocabulary: Vocabulary) -> list[tuple[int, int]]:
        return self.rank(model.encoder, dataset, vocabulary)

    @torch.no_grad()
    def rank(self, encoder: AbstractEncoder, dataset: Dataset, vocabulary: Vocabulary) -> list[tuple[int, int]]:
        """For every item, the rank of its text given its speech, and of its speech given its text (1 is best)."""
        speech, text = [], []
        for draws in dataset.chunks(self.config.items):
            pair = packing.pair(dataset.table, dataset.tokens("text"), draws, 0)
            speech.append(embedded(encoder, pair.speech, vocabulary))
            text.append(embedded(encoder, pair.text, vocabulary))
        return ranks(cosines(torch.cat(speech), torch.cat(text)).cpu().numpy(), self.candidates(dataset.table.rows))

    def candidates(self, rows: Sequence[Example]) -> np.ndarray:
        """Candidates of each item [n, n]: True where the column is a candidate of the row."""
        return alike(rows, self.config.candidates)

    def score(
        self, rows: Sequence[Example], hypotheses: Sequence[tuple[int, int]]
    ) -> tuple[list[Score], list[Example]]:
        items = [
            {"id": row["id"], "reference": row["text"], "direction": direction, "rank": rank}
            for row, both in zip(rows, hypotheses, strict=True)
            for direction, rank in zip(("text from speech", "speech from text"), both, strict=True)
        ]
        places = np.array([item["rank"] for item in items])
        signature = SIGNATURE.format(min(self.config.candidates, len(rows)))
        return [
            metric.score(100 * float((places <= k).mean()), len(rows), signature) for k, metric in RECALLS.items()
        ], items

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        slope, start = baselines.line([len(row["text"]) for row in train], [row["seconds"] for row in train])
        predicted = slope * np.array([len(row["text"]) for row in test]) + start
        seconds = np.array([row["seconds"] for row in test])
        allowed = self.candidates(test)
        closeness = -np.abs(predicted[None] - seconds[:, None])
        chance = 1 / allowed.sum(1)
        return [
            *(Baseline("duration only", m.name, 100 * both_ways(closeness, allowed, k)) for k, m in RECALLS.items()),
            *(Baseline("chance", m.name, 100 * float(np.minimum(1, k * chance).mean())) for k, m in RECALLS.items()),
        ]


def alone(encoder: AbstractEncoder, inputs: Speech | Text, vocabulary: Vocabulary) -> View:
    """The view of utterances or texts alone, unmasked, on the encoder's device."""
    batch = Batch(inputs)
    return moved(Clean().build(batch, context(encoder, batch, vocabulary, 0)), next(encoder.parameters()).device)


def embedded(encoder: AbstractEncoder, inputs: Speech | Text, vocabulary: Vocabulary) -> Tensor:
    """Mean joint vector of each utterance or text, encoded alone: [B, D]."""
    return pooled(encoder(alone(encoder, inputs, vocabulary)), "mean").float()


def cosines(speech_BD: Tensor, text_BD: Tensor) -> Tensor:
    """Cosine similarity of every utterance to every text [B, B], after subtracting each modality's mean."""
    speech_BD, text_BD = (x - x.mean(0) for x in (speech_BD, text_BD))
    return torch.nn.functional.normalize(speech_BD, dim=1) @ torch.nn.functional.normalize(text_BD, dim=1).T


def alike(rows: Sequence[Example], candidates: int) -> np.ndarray:
    """`nearest_in_duration` for a table's rows."""
    return nearest_in_duration([row["seconds"] for row in rows], [row["text"] for row in rows], candidates)


def nearest_in_duration(seconds: Sequence[float], texts: Sequence[str], candidates: int) -> np.ndarray:
    """For each item the `candidates` items nearest in duration, itself first and no other with its text: [n, n]."""
    length, text = np.asarray(seconds, float), np.asarray(texts)
    distance = np.abs(length[:, None] - length[None])
    distance[text[:, None] == text[None]] = np.inf
    np.fill_diagonal(distance, -1)
    chosen = distance.argsort(1, kind="stable")[:, :candidates]
    allowed = np.zeros(distance.shape, bool)
    np.put_along_axis(allowed, chosen, True, 1)
    return allowed & np.isfinite(distance)


def ranks(similarity: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int]]:
    """Rank of the diagonal within each row and each column of `similarity`, among `allowed`; ties count against it."""
    true = similarity.diagonal()[:, None]
    rows = (~(similarity < true) & allowed).sum(1)  # written so that NaN ranks last, too
    columns = (~(similarity.T < true) & allowed).sum(1)
    return [(int(r), int(c)) for r, c in zip(rows, columns)]


def both_ways(similarity: np.ndarray, allowed: np.ndarray, k: int) -> float:
    """Expected recall@k over rows and columns with random tie-breaking, for rules whose scores often tie."""
    true = similarity.diagonal()[:, None]
    shares = []
    for side in (similarity, similarity.T):
        better = ((side > true) & allowed).sum(1)
        tied = ((side == true) & allowed).sum(1)  # including the true one
        shares.append(np.clip((k - better) / tied, 0, 1).mean())
    return float(np.mean(shares))
