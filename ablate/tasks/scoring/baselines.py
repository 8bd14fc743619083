"""Rules without a model: what a score must beat to mean anything."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np

CANDIDATES = 40  # number of constant outputs that are tried
REFERENCES = 100  # training references that they are tried on: enough to choose, and fast for BLEU
LEARNT = 20_000  # training items that counting rules learn from


def majority(train: Sequence[Any]) -> Any:
    """The most frequent training label; ties go to the one seen first."""
    return Counter(train).most_common(1)[0][0]


def overlap(a: str, b: str) -> float:
    """Share of the distinct words of `a` and `b` that both contain."""
    one, two = set(a.lower().split()), set(b.lower().split())
    return len(one & two) / max(1, len(one | two))


def overlap_rule(
    train: Sequence[tuple[str, str]],
    train_labels: Sequence[Any],
    test: Sequence[tuple[str, str]],
) -> list[Any]:
    """Labels of `test` by the rule "this label if the two texts share more than a threshold of their words, else that
    label".

    Threshold and both labels are chosen to be best on the training items.
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
    return [high if overlap(a, b) > threshold else low for a, b in test]


def words(text: str) -> set[str]:
    """The set of its words."""
    return set(text.lower().split())


def bigrams(text: str) -> set[str]:
    """Its words, and every pair of adjacent ones; the ends count as words."""
    said = ["<", *text.lower().split(), ">"]
    return {*said[1:-1], *(f"{a} {b}" for a, b in zip(said, said[1:]))}


def changed(a: str, b: str) -> set[str]:
    """The words that only `a` has ("-paris") and that only `b` has ("+france")."""
    one, two = words(a), words(b)
    return {f"-{word}" for word in one - two} | {f"+{word}" for word in two - one}


def exchanged(a: str, b: str) -> set[str]:
    """Every pair of a word that only `a` has and one that only `b` has, unordered: "paris/france"."""
    one, two = words(a), words(b)
    return {f"{x}/{y}" for x in one - two for y in two - one}


def naive_bayes(
    train: Sequence[Collection[str]],
    train_labels: Sequence[Any],
    test: Sequence[Collection[str]],
) -> list[Any]:
    """Labels of `test` by multinomial naive Bayes, add-one smoothed, on items given by their features.

    Features that are not in train are ignored; ties go to the alphabetically first label.
    """
    train, train_labels = train[:LEARNT], train_labels[:LEARNT]
    labels = sorted(set(train_labels), key=str)
    counts: dict[Any, Counter[str]] = {label: Counter() for label in labels}
    for features, label in zip(train, train_labels, strict=True):
        counts[label].update(features)
    known = set().union(*counts.values())
    prior = Counter(train_labels)
    totals = {label: counts[label].total() + len(known) for label in labels}

    def score(features: Collection[str], label: Any) -> float:
        likelihood = sum(math.log((counts[label][f] + 1) / totals[label]) for f in sorted(features) if f in known)
        return math.log(prior[label]) + likelihood

    return [max(labels, key=lambda label: score(features, label)) for features in test]


def dictionary(written: Sequence[str], spoken: Sequence[str]) -> dict[tuple[str, ...], str]:
    """How written words are most often spoken, for single words or sequences of them: {("5",): "fifth"}.

    Words that both sides have are matched in order; a sequence of written words between matches corresponds to the
    spoken words in its place. A written word without digits at the end of such a sequence takes one spoken word ("960
    m" is "nine hundred sixty" and "meters").
    """
    said: dict[tuple[str, ...], Counter[str]] = {}
    for a, b in zip(written[:LEARNT], spoken[:LEARNT], strict=True):
        one, two = a.split(), b.split()
        for kind, a0, a1, b0, b1 in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
            if kind == "equal":
                for word in one[a0:a1]:
                    said.setdefault((word,), Counter())[word] += 1
            if kind in ("equal", "insert"):
                continue
            while a1 - a0 > 1 and b1 - b0 > 1 and not any(map(str.isdigit, one[a1 - 1])):
                a1, b1 = a1 - 1, b1 - 1
                said.setdefault((one[a1],), Counter())[two[b1]] += 1
            said.setdefault(tuple(one[a0:a1]), Counter())[" ".join(two[b0:b1])] += 1
    return {run: counts.most_common(1)[0][0] for run, counts in said.items()}


def looked_up(text: str, table: Mapping[tuple[str, ...], str]) -> str:
    """Convert `text` by a `dictionary`, longest sequences first; words that it does not have stay."""
    rest, said = tuple(text.split()), []
    longest = max(map(len, table), default=1)
    while rest:
        n = next((n for n in range(longest, 0, -1) if rest[:n] in table), 0)
        said.append(table[rest[:n]] if n else rest[0])
        rest = rest[max(n, 1) :]
    return " ".join(filter(None, said))


def best_constant(train: Sequence[str], loss: Callable[[Sequence[str], Sequence[str]], float]) -> str:
    """The training text that, always given as the output, has the smallest `loss(references, hypotheses)` on train.

    The most frequent texts are tried, on the first training references.
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
