"""Compare rows: means and intervals over seeds and test items, correction for multiple tests.

Effects point in the metric's good direction: a positive effect is an improvement, for metrics of either direction.
One seed has no interval. Rows are paired by design alone: where they start from one pre-training stage of the seed, a
seed gives one difference; otherwise each row has a variance of its own, and these are summed (Welch). That two rows
have a seed number in common does not pair them: it makes nothing equal but the order of the data.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.records import items
from analysis.records.frame import Measure, Records

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
MANY = 1000
"""Maximum number of seeds that is suggested."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over `n` seeds with its t-interval; `low` and `high` are NaN where the spread is unknown."""

    mean: float
    error: float = math.nan
    """Standard error of the mean, from all that was sampled."""
    freedom: float = math.nan
    """Its degrees of freedom."""
    n: int
    """Seeds: where rows are not paired, of the row that has the fewest."""
    seeds_freedom: float = math.nan
    """Degrees of freedom of the part that seeds contribute (Welch); n - 1 for one sample."""
    shared: float = 0.0
    """Part of the squared error that more seeds do not reduce: all seeds share the test items."""
    within: float = 0.0
    """What seeds add to clusters of items by themselves: I of `estimate`."""
    within_term: float = 0.0
    """Its term in Satterthwaite's degrees of freedom, for seeds: the sum of I² / (n - 1) over groups."""
    items_freedom: float = math.inf
    """Degrees of freedom of the clusters of items."""
    over: str = "seeds"
    """What was sampled, as "seeds" or "seeds and items"."""
    paired: bool = False
    """Whether rows were paired by their pre-training."""
    items: tuple[float, float] = (math.nan, math.nan)
    """Interval over test items alone, for the seeds that ran; NaN without counts per item."""
    by: str = "items"
    """What the clusters of test items are, as "items" or "speakers"."""

    @property
    def half(self) -> float:
        """Half-width of the interval; NaN for one seed, and for seeds that all gave exactly the same value.

        Over seeds and items it is never less than over seeds only, although more degrees of freedom would make it so.
        """
        if self.n < 2 or not self.error > 0:
            return math.nan
        return max(float(_t_quantile(freedom) * error) for freedom, error in self._spreads)

    @property
    def spread(self) -> float:
        """Part of the squared error that seeds contribute."""
        return max(0.0, self.error**2 - self.shared)

    @property
    def _spreads(self) -> list[tuple[float, float]]:
        """Degrees of freedom and standard error of all that was sampled and, where that is more than seeds, of seeds
        alone.
        """
        alone = [(self._seeds_freedom, math.sqrt(self.spread))] if self.shared else []
        return [(self.freedom, self.error), *alone]

    @property
    def _seeds_freedom(self) -> float:
        return self.n - 1 if math.isnan(self.seeds_freedom) else self.seeds_freedom

    def with_seeds(self, seeds: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Degrees of freedom and squared error that `seeds` seeds a row would have: of all, and of seeds alone."""
        fewer = self.n / seeds
        spread, within = self.spread * fewer, self.within * fewer
        freedom = self._seeds_freedom * (seeds - 1) / (self.n - 1)
        term = (self.shared + within) ** 2 + self.within_term * fewer**2 * (self.n - 1) / (seeds - 1)
        return (_freedom(spread, freedom, self.shared, term, self.items_freedom), spread + self.shared), (
            freedom,
            spread,
        )

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and it lies entirely on one side of 0."""
        return self.low > 0 or self.high < 0

    def p(self, threshold: float = 0.0) -> float:
        """Two-sided p-value of "the true mean is `threshold`"; NaN where there is no interval."""
        if math.isnan(self.half):
            return math.nan
        return 2 * self.tail(abs(self.mean - threshold))

    def tail(self, distance: float) -> float:
        """Probability that chance moves the mean by more than `distance` to one side."""
        from scipy.special import stdtr

        return max(float(stdtr(freedom, -distance / error)) for freedom, error in self._spreads if error > 0)


@functools.cache
def _t_quantile(freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - ALPHA / 2))


def over_seeds(values: Sequence[float]) -> Estimate:
    """Estimate the mean of per-seed values with Student's t-interval; no interval from one value.

    With three seeds, t(2) = 4.30: the interval is valid and wide.
    """
    x = np.asarray(values, dtype=float)
    if len(x) == 0:
        return Estimate(mean=math.nan, n=0)
    if len(x) == 1:
        return Estimate(mean=float(x[0]), n=1)
    return Estimate(mean=float(x.mean()), error=float(x.std(ddof=1) / math.sqrt(len(x))), freedom=len(x) - 1, n=len(x))


def estimate(
    values: Sequence[np.ndarray],
    parts: Sequence[np.ndarray] | None = None,
    effective: float | None = None,
    by: str = "items",
    paired: bool = False,
) -> Estimate:
    """Estimate the sum of the means of independent groups of seeds, each with `values` [seeds].

    `parts` [seeds, clusters] are what the clusters of test items contribute to these values, as `index.Parts` has them;
    all groups have the same clusters, worth `effective` equal ones (by default all are equal). Then the variance of the
    mean is V = V_s + max(0, V_c - I), with n seeds in a group and G clusters:

    - V_s, of seeds: sum over groups of s² / n, with Welch's degrees of freedom (Welch 1947).
    - V_c, of clusters: (G - 1) / G · sum of squares of the clusters' contributions to the mean (the delete-one-cluster
      jackknife, "CV3"; MacKinnon, Nielsen and Webb 2023).
    - I, of seeds within clusters, which V_s and V_c both hold: sum over groups of
      (G - 1) / G · (sum of squares of what single seeds add to clusters) / (n (n - 1)).

    Degrees of freedom are Satterthwaite's (1946), and no fewer than the smaller of the two parts'; clusters have one
    fewer than `effective`, at least one.
    """
    if not values or any(len(x) == 0 for x in values):
        return Estimate(mean=math.nan, n=0)
    mean, n = float(sum(x.mean() for x in values)), min(len(x) for x in values)
    alone = Estimate(mean=mean, n=n, paired=paired, by=by)
    if n > 1:
        each = np.array([x.var(ddof=1) / len(x) for x in values])
        spread = float(each.sum())
        welch = spread**2 / float(sum(v**2 / (len(x) - 1) for v, x in zip(each, values))) if spread > 0 else n - 1
        alone = replace(alone, error=math.sqrt(spread), freedom=welch, seeds_freedom=welch)
    clusters = parts[0].shape[1] if parts is not None else 0
    if clusters < 2:
        return alone
    narrow, free = (clusters - 1) / clusters, max(1.0, (effective or clusters) - 1)
    of_mean = sum(own.mean(axis=0) for own in parts)
    between = narrow * float(of_mean @ of_mean)
    half = _t_quantile(free) * math.sqrt(between)
    alone = replace(alone, items=(mean - half, mean + half) if between > 0 else (math.nan, math.nan))
    if not alone.error > 0:
        return alone
    within = [narrow * float(np.square(x - x.mean(axis=0)).sum()) / (len(x) * (len(x) - 1)) for x in parts]
    shared = between - sum(within)
    shared = shared if shared > 1e-9 * between else 0.0
    within_term = sum(i**2 / (len(x) - 1) for i, x in zip(within, parts))
    spread = alone.error**2
    return replace(
        alone,
        error=math.sqrt(spread + shared),
        freedom=_freedom(spread, alone.freedom, shared, between**2 + within_term, free),
        shared=shared,
        within=sum(within),
        within_term=within_term,
        items_freedom=free,
        over=f"seeds and {by}",
    )


def _freedom(spread: float, freedom: float, shared: float, term: float, items_freedom: float) -> float:
    """Degrees of freedom of `spread`, which has `freedom`, plus what items add: Satterthwaite's, and no fewer than the
    smaller of the two parts' own. `term` / `items_freedom` is the items' part of the denominator.
    """
    if not shared:
        return freedom
    whole = (spread + shared) ** 2 / (spread**2 / freedom + term / items_freedom)
    return max(whole, min(freedom, items_freedom))


def detectable(estimate: Estimate, wanted: float = 0.8, level: float = ALPHA) -> float:
    """Smallest effect that the same number of seeds with this spread detects with the given power; NaN without an
    interval.

    Two-sided at `level`, from the noncentral t distribution. It describes the design, not the effect found.
    """
    if math.isnan(estimate.half):
        return math.nan
    from scipy.optimize import brentq

    most = 60 * estimate.half * ALPHA / level
    return float(brentq(lambda effect: power(estimate, effect, estimate.n, level) - wanted, 0.0, most))


def power(estimate: Estimate, effect: float, seeds: int, level: float = ALPHA) -> float:
    """Probability that `seeds` seeds with this estimate's spread detect a true `effect`, two-sided at `level`.

    From the noncentral t distribution, integrated over the observed spread: scipy's own function gives NaN for many
    seeds. Only the seeds' part of the error shrinks with more seeds; that of the test items stays.
    """
    from scipy.special import chdtri, ndtr, stdtrit

    spreads = estimate.with_seeds(seeds)
    total = spreads[0][1]
    seen = np.max(
        [
            stdtrit(freedom, 1 - level / 2)
            * np.sqrt(chdtri(freedom, (np.arange(2000) + 0.5) / 2000) / freedom * variance)
            for freedom, variance in spreads
        ],
        axis=0,
    ) / math.sqrt(total)
    shift = effect / math.sqrt(total)
    return float((ndtr(shift - seen) + ndtr(-shift - seen)).mean())


def needed(estimate: Estimate, effect: float, level: float = ALPHA, wanted: float = 0.8) -> int | None:
    """Smallest number of seeds that detects a true `effect` with the wanted power at `level`; None above a thousand.

    It describes a design. It is no reason to test the same claim again after every new seed.
    """
    low, high = 2, MANY
    if math.isnan(estimate.half) or not effect or power(estimate, effect, high, level) < wanted:
        return None
    while low < high:  # power grows with seeds
        middle = (low + high) // 2
        low, high = (low, middle) if power(estimate, effect, middle, level) >= wanted else (middle + 1, high)
    return low


def holm(p_values: Mapping[Any, float]) -> dict[Any, float]:
    """Adjust p-values for their number (Holm 1979); NaN (nothing measured yet) stays NaN but counts in the number."""
    order = sorted(p_values, key=lambda key: (math.isnan(p_values[key]), p_values[key]))
    adjusted, floor = {}, 0.0
    for rank, key in enumerate(order):
        floor = max(floor, min(1.0, (len(order) - rank) * p_values[key])) if not math.isnan(p_values[key]) else floor
        adjusted[key] = math.nan if math.isnan(p_values[key]) else floor
    return {key: adjusted[key] for key in p_values}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows of an effect that start from one pre-training stage of each seed: a seed gives one value."""

    times: list[float]
    """Each row's coefficient, in the metric's good direction."""
    runs: list[tuple[str, ...]]
    """The rows' score runs, by seed."""
    values: np.ndarray
    """Their weighted sum, by seed."""


def groups(
    records: Records,
    effect: Mapping[str, float],
    what: Measure,
    points: Sequence[str],
    seeds: Sequence[int] | None = None,
) -> list[Group]:
    """Group the rows of an effect by the pre-training that they share; points of the axes are averaged.

    A group has those of `seeds` (by default all) that all its rows have finished. Seeds that led to the very same runs
    count once. Empty if a group has no seed.
    """
    finished, descent = records.finished(what), records.descent
    seeds = records.seeds if seeds is None else seeds
    ends = [(row, point) for point in points for row, times in effect.items() if times]
    times = what.sign / len(points)
    found = []
    for members in _related(ends, descent, seeds):
        keys = [[(*end, seed) for end in members] for seed in seeds]
        by_runs = {tuple(finished[k][0] for k in of): of for of in keys if all(k in finished for k in of)}
        if not by_runs:
            return []
        factors = [times * effect[row] for row, _ in members]
        values = [[finished[key][1] for key in of] for of in by_runs.values()]
        found.append(Group(times=factors, runs=list(by_runs), values=np.array(values) @ np.array(factors)))
    return found


def _related(
    ends: list[tuple[str, str]], descent: Mapping[tuple[str, str, int], frozenset[str]], seeds: Sequence[int]
) -> list[list[tuple[str, str]]]:
    """Split (row, point) into those that are related by a stage of a seed, directly or over others."""
    parts: list[list[tuple[str, str]]] = []
    for end in ends:
        near = [
            part
            for part in parts
            if any(descent.get((*end, s), _NONE) & descent.get((*other, s), _NONE) for other in part for s in seeds)
        ]
        parts = [part for part in parts if part not in near] + [[*(one for part in near for one in part), end]]
    return parts


_NONE: frozenset[str] = frozenset()


def effect_over_seeds(
    records: Records,
    effect: Mapping[str, float],
    what: Measure,
    points: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Estimate:
    """Estimate an effect {row: coefficient} over seeds (by default all). Points of the axes (by default all) are
    averaged.
    """
    found = groups(records, effect, what, points or records.points, seeds)
    return estimate([group.values for group in found], paired=_paired(found))


def effect_with_items(
    records: Records,
    effect: Mapping[str, float],
    what: Measure,
    points: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Estimate:
    """Estimate an effect over seeds and, where the records hold per-item counts, clusters of test items."""
    found = groups(records, effect, what, points or records.points, seeds)
    sampled = items.of_groups(records, what, [(group.runs, group.times, group.values) for group in found])
    return estimate([group.values for group in found], *(sampled or ()), paired=_paired(found))


def _paired(found: Sequence[Group]) -> bool:
    return len(found) == 1 and len(found[0].times) > 1


def delta(records: Records, what: Measure, row: str, reference: str, point: str = "") -> Estimate:
    """Effect of `row` against `reference` at one point, over seeds."""
    return effect_over_seeds(records, {row: 1.0, reference: -1.0}, what, [point])
