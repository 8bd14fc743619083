"""Variance components: how much of an effect's spread comes from pre-training, fine-tuning and test items."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.records import items, manifest
from analysis.records.frame import Measure, Records
from analysis.statistics import compare
from analysis.statistics.compare import Group, between_and_within


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variances of one value of an effect: that of one leaf of every row, fine-tuned once, on one test set."""

    pretraining: float
    """Between leaves of other seeds, fine-tuning taken off; NaN for one seed. Where no leaf is fine-tuned twice
    (`finetuning` is NaN) it holds both."""
    finetuning: float
    """Between fine-tunings of one leaf; 0 for a task that is measured on the leaf itself."""
    items: float
    """Of test items, each by itself; NaN without counts per item. For one seed: of this checkpoint."""
    clusters: float
    """What is added because items of a cluster are alike."""
    by: str
    """What the clusters are."""
    seeds: int
    """Leaves of the row that has the fewest."""
    leaves: Sequence[tuple[float, Sequence[int]]]
    """For each row, the fine-tuning variance in the effect, and the number of fine-tunings of each leaf."""

    def tuned(self, more: int = 0) -> float:
        """What fine-tuning adds to the variance of a leaf's value, with so many `more` fine-tunings of each leaf."""
        return sum(
            variance * float(np.mean([1 / (count + more) for count in counts])) for variance, counts in self.leaves
        )


def of_effect(
    records: Records, effect: Mapping[str, float], what: Measure, points: Sequence[str] | None = None
) -> Components | None:
    """Return the variance components of an effect {row: coefficient}; None while it has no value.

    By expected mean squares: the variance between leaf means is σ²(pre-training) plus, for each row,
    coefficient² σ²(fine-tuning) / number of fine-tunings. A component that chance makes negative is 0.
    """
    found = compare.groups(records, effect, what, points or records.points)
    if not found:
        return None
    sampled = items.of_groups(records, what, [(group.runs, group.values) for group in found])
    shared, alone = (_shared(sampled.parts), _shared(sampled.each)) if sampled else (math.nan, math.nan)
    seeds = min(len(group.values) for group in found)
    tuned = any(what.task in manifest.finetuned(line) for line in records.manifest)
    leaves = list(_leaves(found)) if tuned else []
    components = Components(
        pretraining=sum(float(group.values.var(ddof=1)) for group in found) if seeds > 1 else math.nan,
        finetuning=sum((variance for variance, _ in leaves), 0.0),
        items=alone,
        clusters=max(shared - alone, 0.0),  # in this order NaN stays
        by=sampled.by if sampled else "items",
        seeds=seeds,
        leaves=leaves,
    )
    if math.isnan(components.finetuning):
        return components
    return replace(components, pretraining=max(components.pretraining - components.tuned(), 0.0))


def _leaves(found: Sequence[Group]) -> Iterator[tuple[float, list[int]]]:
    """Yield `Components.leaves`. A row of which no leaf is fine-tuned twice has the other rows' variance."""
    rows = [list(zip(*group.drawn)) for group in found]
    flat = [(seeds[0][0], [values for _, values in seeds]) for group in rows for seeds in group]
    pooled = _pooled([values for _, leaves in flat for values in leaves])
    for times, leaves in flat:
        own = _pooled(leaves)
        yield times**2 * (pooled if math.isnan(own) else own), [len(values) for values in leaves]


def _pooled(leaves: Sequence[Sequence[float]]) -> float:
    """Variance within leaves, pooled; NaN if none has two values."""
    freedom = sum(len(values) - 1 for values in leaves)
    return sum(float(np.var(values)) * len(values) for values in leaves) / freedom if freedom else math.nan


def _shared(parts: Sequence[np.ndarray]) -> float:
    """Variance over clusters that more seeds would not reduce; for one seed, that of the checkpoint."""
    if parts[0].shape[1] < 2:
        return math.nan
    between, within = between_and_within(parts)
    return max(0.0, between - sum(within))
