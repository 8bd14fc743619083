"""How well predicted labels or numbers agree with the true ones: GLUE's metrics, from counts that add up over items."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ablate.tasks.task import Metric

ACCURACY = Metric("accuracy", "higher")
F1 = Metric("f1", "higher", "")
MATTHEWS = Metric("matthews", "higher", "")
PEARSON = Metric("pearson", "higher", "")
SPEARMAN = Metric("spearman", "higher", "")


def accuracy(predicted: Sequence[Any], wanted: Sequence[Any]) -> float:
    """Percentage of equal labels; 0 for no items."""
    return 100 * sum(p == w for p, w in zip(predicted, wanted, strict=True)) / max(1, len(wanted))


def hits(predicted: Any, wanted: Any, positive: Any) -> list[int]:
    """One item's true positives, false positives, false negatives and true negatives: exactly one of them is 1."""
    p, w = predicted == positive, wanted == positive
    return [int(p and w), int(p and not w), int(w and not p), int(not p and not w)]


def f1(predicted: Sequence[Any], wanted: Sequence[Any], positive: Any) -> float:
    """F1 × 100 of the class `positive`; 0 if neither side has it."""
    tp, fp, fn, _ = _sums(predicted, wanted, positive)
    return 100 * 2 * tp / max(1, 2 * tp + fp + fn)


def matthews(predicted: Sequence[Any], wanted: Sequence[Any], positive: Any) -> float:
    """Matthews correlation × 100 of two classes; 0 if one side is constant."""
    tp, fp, fn, tn = _sums(predicted, wanted, positive)
    scale = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return 100 * (tp * tn - fp * fn) / scale if scale else 0.0


def pearson(predicted: Sequence[float], wanted: Sequence[float]) -> float:
    """Pearson correlation × 100; 0 if one side is constant."""
    x, y = np.asarray(predicted, float), np.asarray(wanted, float)
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((x * x).sum() * (y * y).sum()))
    return 100 * float((x * y).sum()) / scale if scale else 0.0


def spearman(predicted: Sequence[float], wanted: Sequence[float]) -> float:
    """Rank correlation × 100, with equal values sharing their mean rank; 0 if one side is constant."""
    from scipy.stats import rankdata  # takes a second to import, and most commands compute no ranks

    return pearson(rankdata(predicted), rankdata(wanted))


def _sums(predicted: Sequence[Any], wanted: Sequence[Any], positive: Any) -> list[int]:
    counts = [hits(p, w, positive) for p, w in zip(predicted, wanted, strict=True)]
    return [sum(column) for column in zip(*counts)] if counts else [0, 0, 0, 0]


# By name: the metric, and its value from predictions, references and the positive class.
AGREEMENT: dict[str, tuple[Metric, Callable[..., float]]] = {
    "accuracy": (ACCURACY, lambda p, w, positive: accuracy(p, w)),
    "f1": (F1, f1),
    "matthews": (MATTHEWS, matthews),
    "pearson": (PEARSON, lambda p, w, positive: pearson(p, w)),
    "spearman": (SPEARMAN, lambda p, w, positive: spearman(p, w)),
}
