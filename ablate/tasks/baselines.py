"""Rules without a model: what a number must beat before it says anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

CANDIDATES = 40  # constant outputs tried
REFERENCES = 100  # training references they are tried on: enough to choose, quick for BLEU


def majority(train: Sequence[Any], test: Sequence[Any]) -> float:
    """Accuracy in % of the most frequent training label; ties go to the one seen first."""
    return accuracy([Counter(train).most_common(1)[0][0]] * len(test), test)


def accuracy(predicted: Sequence[Any], wanted: Sequence[Any]) -> float:
    """Share of equal labels in %; of nothing, 0."""
    return 100 * sum(p == w for p, w in zip(predicted, wanted, strict=True)) / max(1, len(wanted))


def overlap(a: str, b: str) -> float:
    """Share of the distinct words of `a` and `b` that both have."""
    one, two = set(a.lower().split()), set(b.lower().split())
    return len(one & two) / max(1, len(one | two))


def overlap_rule(
    train: Sequence[tuple[str, str]],
    train_labels: Sequence[Any],
    test: Sequence[tuple[str, str]],
    test_labels: Sequence[Any],
) -> float:
    """Accuracy in % of "this label if the two texts share more than so many of their words, else that label".

    Threshold and both labels are the best on the training items.
    """
    labels = sorted(set(train_labels), key=str)
    shares = np.array([overlap(a, b) for a, b in train])
    order = np.argsort(shares, kind="stable")
    is_label = np.array([[label == wanted for label in labels] for wanted in train_labels])[order]
    below = np.concatenate([np.zeros((1, len(labels)), int), is_label.cumsum(0)])
    above = below[-1] - below
    values = shares[order]
    # A cut lies before an item whose share differs from the one before it, or at either end.
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [len(values)]]).astype(int)
    cut = cuts[np.argmax(below[cuts].max(1) + above[cuts].max(1))]
    low, high = labels[below[cut].argmax()], labels[above[cut].argmax()]
    if cut == 0:
        threshold = -np.inf
    elif cut == len(values):
        threshold = np.inf
    else:
        threshold = (values[cut - 1] + values[cut]) / 2
    return accuracy([high if overlap(a, b) > threshold else low for a, b in test], test_labels)


def best_constant(train: Sequence[str], loss: Callable[[Sequence[str], Sequence[str]], float]) -> str:
    """The training text that, always given as the output, has the least `loss(references, hypotheses)` on train.

    Tried are the most frequent ones, on the first training references.
    """
    candidates = [text for text, _ in Counter(train).most_common(CANDIDATES)]
    references = list(train[:REFERENCES])
    return min(candidates, key=lambda text: loss(references, [text] * len(references)))


def line(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Slope and intercept of the least-squares line y = slope x + intercept; flat where x does not vary."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    spread = x.var()
    slope = float(((x - x.mean()) * (y - y.mean())).mean() / spread) if spread else 0.0
    return slope, float(y.mean() - slope * x.mean())
