"""How similar a leaf's speech and text are, layer by layer: CKA of the two encodings of a sentence, and retrieval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor

from ablate.data import packing
from ablate.data.table import Example
from ablate.errors import UserError
from ablate.tasks.measured import linear
from ablate.tasks.measured.retrieval import alike, alone, both_ways, cosines, ranks
from ablate.tasks.task import AbstractMeasure, Baseline, Dataset, Metric, Score, TaskConfig
from ablate.training.loop import Model
from encoders.batch import Speech, Text, Vocabulary
from encoders.encoder import AbstractEncoder
from encoders.layers import by_layer
from encoders.ranges import Natural, Size, Within

CKA = Metric("cka", "higher", "")
RECALL_1 = Metric("recall@1", "higher")


@dataclass(frozen=True)
class Sides:
    """One pair: the mean vectors of its speech and of its text at every shared layer."""

    speech: Mapping[str, Tensor]
    text: Mapping[str, Tensor]


class AlignmentByLayer(AbstractMeasure):
    """Similarity of speech and text, encoded separately and averaged over positions, at every shared layer.

    `cka` and `recall@1` are measured at the top layer, `cka/shared_0` at the input of the shared layers, and so on.
    Longer sentences take longer to say, so lengths alone give some CKA: that is a baseline. Recall is among candidates
    of similar duration, as in `retrieval`.
    """

    reads = "pair"
    columns = ("text",)
    sees = ("speech", "text")
    baseline_split = "dev"
    metrics = (CKA, RECALL_1)

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """Held-out pairs: a table with audio, `text` and `seconds`. Nothing is trained."""

        tag: ClassVar[str] = "alignment_by_layer"

        table: str = "retrieval"
        steps: Natural = 0
        candidates: Annotated[int, Within(2)] = 50
        """Number of items to choose from in retrieval, including the true one."""
        items: Size = 16
        """Number of items encoded at once."""

    def measure(self, model: Model, dataset: Dataset, vocabulary: Vocabulary) -> list[Sides]:
        pairs: list[Sides] = []
        for draws in dataset.chunks(self.config.items):
            pair = packing.pair(dataset.table, dataset.tokens("text"), draws, 0)
            sides = [means(model.encoder, side, vocabulary) for side in (pair.speech, pair.text)]
            pairs += map(Sides, *sides)
        return pairs

    def score(self, rows: Sequence[Example], hypotheses: Sequence[Sides]) -> tuple[list[Score], list[Example]]:
        if len(rows) < 4:
            raise UserError(f"CKA needs at least 4 pairs, found {len(rows)}; give the table more rows.")
        allowed = alike(rows, self.config.candidates)
        by_name: dict[str, list[float]] = {}
        items: list[Example] = [{"id": row["id"], "reference": row["text"]} for row in rows]
        for layer in hypotheses[0].speech:
            speech, text = (torch.stack([getattr(h, side)[layer] for h in hypotheses]) for side in ("speech", "text"))
            places = ranks(cosines(speech, text).numpy(), allowed)
            first = float((np.array(places) <= 1).mean())
            by_name[layer] = [linear.cka(speech.numpy(), text.numpy()), 100 * first]
            for item, rank in zip(items, places):
                item[f"ranks/{layer}"] = list(rank)
        what = (
            "mean pool|unbiased linear CKA",
            f"mean pool|both directions|{self.config.candidates} nearest in duration",
        )
        scores = [
            metric.score(value, len(rows), signature)
            for metric, value, signature in zip(self.metrics, by_name[layer], what)  # the top one
        ]
        return scores + layered(self.metrics, by_name, len(rows), what), items

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        seconds, letters = (
            np.array(x)[:, None] for x in ([r["seconds"] for r in test], [len(r["text"]) for r in test])
        )
        allowed = alike(test, self.config.candidates)
        equal = np.zeros(allowed.shape)
        return [
            Baseline("lengths only", CKA.name, linear.cka(seconds, letters)),
            Baseline("chance", RECALL_1.name, 100 * both_ways(equal, allowed, 1)),
        ]


def means(encoder: AbstractEncoder, inputs: Speech | Text, vocabulary: Vocabulary) -> list[dict[str, Tensor]]:
    """Each sequence's mean over positions at every shared layer; speech and text are encoded separately."""
    encoding, layers = by_layer(encoder, alone(encoder, inputs, vocabulary))
    lengths = encoding.layout.sequence_lengths
    shared = {name: x_ND.float().cpu().split(lengths) for name, x_ND in layers.items() if name.startswith("shared_")}
    return [{name: parts[b].mean(0) for name, parts in shared.items()} for b in range(len(lengths))]


def layered(
    metrics: Sequence[Metric], values: Mapping[str, Sequence[float]], n: int, signatures: Sequence[str]
) -> list[Score]:
    """Scores called "metric/layer", from each layer's values in the order of `metrics`."""
    return [
        Metric(f"{metric.name}/{layer}", metric.better, metric.unit).score(value, n, signature)
        for layer, own in values.items()
        for metric, value, signature in zip(metrics, own, signatures)
    ]
