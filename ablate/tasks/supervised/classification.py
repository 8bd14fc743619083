"""Text classification: of one sentence or a pair of sentences, including GLUE's tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ablate.data import packing
from ablate.data.packing import Draws
from ablate.data.table import Example, Table
from ablate.errors import UserError, nearest
from ablate.tasks.scoring import baselines
from ablate.tasks.scoring.agreement import AGREEMENT, hits
from ablate.tasks.task import AbstractTask, Baseline, Dataset, Score, TaskConfig
from ablate.training.loop import Model
from encoders.batch import Batch, Vocabulary
from encoders.ranges import OneOf, Within
from objectives.classification import Classification
from objectives.objective import Ports

CLASSES, NUMBERS = ("accuracy", "f1", "matthews"), ("pearson", "spearman")

# Features of the naive Bayes baselines, by the number of texts; none knows more about word order than bigrams do.
FEATURES: dict[int, dict[str, Callable[..., set[str]]]] = {
    1: {"words": baselines.words, "bigrams": baselines.bigrams},
    2: {
        "words of the second": lambda a, b: baselines.words(b),
        "changed words": baselines.changed,
        "exchanged words": baselines.exchanged,
    },
}


class TextClassification(AbstractTask):
    """A linear head on the pooled text encoding that predicts a class or a number; two texts form one sequence, `CLS a
    SEP b SEP`.
    """

    reads = "text"

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """A table with `label` and one or two text fields; classes are those of its training split."""

        tag: ClassVar[str] = "classification"

        table: str = "sentiment"
        fields: tuple[str, ...] = ("text",)
        """The text fields, one or two."""
        metrics: tuple[Annotated[str, OneOf(AGREEMENT)], ...] = ("accuracy",)
        """Metrics to report; the first one is also computed on dev. accuracy, f1 and matthews are for classes, pearson
        and spearman for numbers.
        """
        positive: str = ""
        """The class for which F1 and Matthews correlation are computed."""
        head: Classification.Config = Classification.Config()
        """Pooling and output layer."""
        max_tokens: Annotated[int, Within(3)] = 256
        """Maximum input length, special tokens included; longer input is truncated."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if len(self.fields) not in (1, 2):
                raise UserError(f"fields are {list(self.fields)}, expected one text field or two, such as [text].")
            if not self.metrics or {name in NUMBERS for name in self.metrics} == {True, False}:
                raise UserError(
                    f"metrics are {list(self.metrics)}, expected some of {', '.join(CLASSES)}, or of "
                    f"{', '.join(NUMBERS)}: labels are classes or numbers."
                )
            if self.tokenizer is not None:
                raise UserError(
                    "tokenizer is for output texts, but this task outputs labels; set base.tokenizer for the input."
                )
            if {"f1", "matthews"} & set(self.metrics) and not self.positive:
                raise UserError("positive is empty, but f1 and matthews are computed for one class; name it.")

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.given, self.columns = config.fields, (*config.fields, "label")
        self.metrics = tuple(AGREEMENT[name][0] for name in config.metrics)
        self.numbers = config.metrics[0] in NUMBERS

    def objective(self, ports: Ports, targets: Vocabulary | None, train: Table) -> Classification:
        labels = {row["label"] for row in train.rows}
        if self.config.positive and self.config.positive not in labels:
            raise UserError(
                f"positive is '{self.config.positive}', which {train.name} does not have: "
                f"{nearest(self.config.positive, sorted(map(str, labels)))}"
            )
        return self.config.head.build(ports, () if self.numbers else tuple(sorted(labels, key=str)))

    def inputs(self, dataset: Dataset, draws: Draws, seed: int, training: bool = False) -> Batch:
        tokens = [dataset.tokens(field) for field in self.config.fields]
        pack = packing.text if len(tokens) == 1 else packing.text_pair
        labels = tuple(dataset.table.rows[index]["label"] for _, index in draws)
        return Batch(pack(*tokens, draws, seed, self.config.max_tokens), {"label": labels})

    def lost(self, dataset: Dataset, model: Model) -> dict[str, int]:
        over = self.sizes(dataset) > self.config.max_tokens
        return {f"cut to max_tokens ({self.config.max_tokens})": int(over.sum())}

    def score(self, rows: Sequence[Example], hypotheses: Sequence[Any]) -> tuple[list[Score], list[Example]]:
        items = [
            {"id": row["id"], "reference": row["label"], "hypothesis": h, **self._counts(h, row["label"])}
            for row, h in zip(rows, hypotheses, strict=True)
        ]
        labels = [row["label"] for row in rows]
        return [
            metric.score(self._value(metric.name, hypotheses, labels), len(rows), self._signature(metric.name))
            for metric in self.metrics
        ], items

    def _counts(self, hypothesis: Any, label: Any) -> Example:
        if self.numbers:
            return {"moments": [hypothesis, label, hypothesis**2, label**2, hypothesis * label]}
        counts = {"correct": int(hypothesis == label)}
        return counts | ({"hits": hits(hypothesis, label, self.config.positive)} if self.config.positive else {})

    def _value(self, name: str, predicted: Sequence[Any], wanted: Sequence[Any]) -> float:
        return AGREEMENT[name][1](predicted, wanted, self.config.positive)

    def _signature(self, name: str) -> str:
        return f"{name}|positive:{self.config.positive}" if name in ("f1", "matthews") else name

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        learnt, wanted = [row["label"] for row in train], [row["label"] for row in test]
        texts = [[tuple(row[field] for field in self.config.fields) for row in rows] for rows in (train, test)]
        made: dict[str, Sequence[Any]] = {}
        if self.numbers:
            mean = sum(learnt) / max(1, len(learnt))
            made["mean"] = [mean] * len(wanted)
            if len(self.config.fields) == 2:
                made["word overlap"] = [baselines.overlap(*pair) for pair in texts[1]]
        else:
            made["majority"] = [baselines.majority(learnt)] * len(wanted)
            if len(self.config.fields) == 2:
                made["word overlap"] = baselines.overlap_rule(texts[0], learnt, texts[1])
            for name, features in FEATURES[len(self.config.fields)].items():
                parts = ([features(*text) for text in part] for part in texts)
                made[f"{name} (naive Bayes)"] = baselines.naive_bayes(next(parts), learnt, next(parts))
        return [
            Baseline(name, metric.name, self._value(metric.name, predicted, wanted))
            for name, predicted in made.items()
            for metric in self.metrics
        ]
