"""Text classification: one sentence, or a pair of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ablate.data import packing
from ablate.data.packing import Draws
from ablate.data.table import Table
from ablate.errors import UserError
from ablate.tasks import baselines
from ablate.tasks.task import AbstractTask, Baseline, Dataset, Metric, Row, Score, TaskConfig
from encoders.batch import Batch, View, Vocabulary
from encoders.encoding import Encoding
from objectives.classification import Classification
from objectives.objective import Ports

ACCURACY = Metric("accuracy", "higher")

# What naive Bayes is shown as a baseline, by the number of texts: nothing that tells more of their order than bigrams.
FEATURES: dict[int, dict[str, Callable[..., set[str]]]] = {
    1: {"words": baselines.words, "bigrams": baselines.bigrams},
    2: {
        "words of the second": lambda a, b: baselines.words(b),
        "changed words": baselines.changed,
        "exchanged words": baselines.exchanged,
    },
}


class TextClassification(AbstractTask):
    """Accuracy of a linear head on the pooled text encoding; two texts are one sequence, `CLS a SEP b SEP`."""

    reads = "text"
    metrics = (ACCURACY,)
    select = ACCURACY

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """Classification of a table with `label` and one or two text fields; labels are those of its train split."""

        table: str = "sentiment"
        fields: tuple[str, ...] = ("text",)
        """The text fields, one or two."""
        head: Classification.Config = Classification.Config()
        """Pooling and output layer."""
        max_tokens: int = 256
        """Longer input is cut, special tokens included."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if len(self.fields) not in (1, 2):
                raise UserError(f"fields are {list(self.fields)}, expected one text field or two, such as [text].")

        def build(self) -> "TextClassification":
            return TextClassification(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.given = config.fields

    def objective(self, ports: Ports, targets: Vocabulary | None, train: Table) -> Classification:
        return self.config.head.build(ports, tuple(sorted({row["label"] for row in train.rows}, key=str)))

    def inputs(self, dataset: Dataset, draws: Draws, seed: int, training: bool = False) -> Batch:
        tokens = [dataset.tokens(field) for field in self.config.fields]
        pack = packing.text if len(tokens) == 1 else packing.text_pair
        labels = tuple(dataset.table.rows[index]["label"] for _, index in draws)
        return Batch(pack(*tokens, draws, seed, self.config.max_tokens), {"label": labels})

    def sizes(self, dataset: Dataset) -> np.ndarray:
        return sum(dataset.tokens(field).lengths for field in self.config.fields) + 1 + len(self.config.fields)

    def predict(self, objective: Classification, view: View, encoding: Encoding, final: bool = True) -> list[Any]:
        return objective.decode(encoding)

    def score(self, rows: Sequence[Row], hypotheses: Sequence[Any]) -> tuple[list[Score], list[Row]]:
        items = [
            {"id": row["id"], "reference": row["label"], "hypothesis": h, "correct": int(h == row["label"])}
            for row, h in zip(rows, hypotheses, strict=True)
        ]
        value = baselines.accuracy(hypotheses, [row["label"] for row in rows])
        return [ACCURACY.score(value, len(rows), "accuracy")], items

    def baselines(self, train: Sequence[Row], test: Sequence[Row]) -> list[Baseline]:
        labels = [row["label"] for row in train], [row["label"] for row in test]
        found = [Baseline("majority", "accuracy", baselines.majority(*labels))]
        texts = [[tuple(row[field] for field in self.config.fields) for row in rows] for rows in (train, test)]
        if len(self.config.fields) == 2:
            value = baselines.overlap_rule(texts[0], labels[0], texts[1], labels[1])
            found.append(Baseline("word overlap", "accuracy", value))
        for name, features in FEATURES[len(self.config.fields)].items():
            train_features, test_features = ([features(*text) for text in part] for part in texts)
            value = baselines.naive_bayes(train_features, labels[0], test_features, labels[1])
            found.append(Baseline(f"{name} (naive Bayes)", "accuracy", value))
        return found
