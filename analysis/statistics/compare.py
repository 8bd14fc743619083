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
import pandas as pd

from analysis.records import items
from analysis.records.frame import Measure, Records
from analysis.records.scores import DONE

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
POINTS = 2000
"""Draws of the spread over which power is integrated."""
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
    groups: tuple[tuple[float, float], ...] = ()
    """What each independent group of seeds adds to the squared error, and its degrees of freedom; of one group by
    default.
    """
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
    def seeds_freedom(self) -> float:
        """Degrees of freedom of `spread`: Welch's."""
        return float(_welch(*zip(*self.groups))) if self.groups else self.n - 1

    @property
    def of_seeds(self) -> Estimate:
        """The estimate over seeds alone, for these test items."""
        return replace(self, error=math.sqrt(self.spread), freedom=self.seeds_freedom, shared=0.0, over="seeds")

    @property
    def _spreads(self) -> list[tuple[float, float]]:
        """Degrees of freedom and standard error of all that was sampled and, where that is more than seeds, of seeds
        alone.
        """
        alone = [(self.seeds_freedom, math.sqrt(self.spread))] if self.shared else []
        return [(self.freedom, self.error), *alone]

    def with_seeds(self, seeds: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Degrees of freedom and squared error that `seeds` seeds a row would have: of all, and of seeds alone."""
        fewer = self.n / seeds
        spread, within = self.spread * fewer, self.within * fewer
        freedom = self.seeds_freedom * (seeds - 1) / (self.n - 1)
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


@functools.lru_cache(maxsize=1024)
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
        each = tuple((float(x.var(ddof=1)) / len(x), len(x) - 1) for x in values)
        spread = sum(v for v, _ in each)
        alone = replace(alone, error=math.sqrt(spread), groups=each if spread > 0 else ())
        alone = replace(alone, freedom=alone.seeds_freedom)
    clusters = parts[0].shape[1] if parts is not None else 0
    if clusters < 2:
        return alone
    free = max(1.0, (effective or clusters) - 1)
    between, within = between_and_within(parts)
    half = _t_quantile(free) * math.sqrt(between)
    alone = replace(alone, items=(mean - half, mean + half) if between > 0 else (math.nan, math.nan))
    if not alone.error > 0:
        return alone
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


def between_and_within(parts: Sequence[np.ndarray]) -> tuple[float, list[float]]:
    """Return V_c of `estimate`, and I by group of seeds: 0 for one seed, of which it cannot be told."""
    clusters = parts[0].shape[1]
    narrow = (clusters - 1) / clusters
    of_mean = sum(own.mean(axis=0) for own in parts)
    within = [narrow * float(np.square(x - x.mean(axis=0)).sum()) / (len(x) * max(1, len(x) - 1)) for x in parts]
    return narrow * float(of_mean @ of_mean), within


def _welch(spreads: Sequence, freedoms: Sequence) -> Any:
    """Welch's degrees of freedom of the sum of independent `spreads`, numbers or arrays, with `freedoms`."""
    return sum(spreads) ** 2 / sum(v**2 / freedom for v, freedom in zip(spreads, freedoms))


def _freedom(spread: float, freedom: float, shared: float, term: float, items_freedom: float) -> float:
    """Degrees of freedom of `spread`, which has `freedom`, plus what items add: Satterthwaite's, and no fewer than the
    smaller of the two parts' own. `term` / `items_freedom` is the items' part of the denominator.
    """
    if not shared:
        return freedom
    whole = (spread + shared) ** 2 / (spread**2 / freedom + term / items_freedom)
    return max(whole, min(freedom, items_freedom))


def detectable(estimate: Estimate, wanted: float = 0.8, level: float = ALPHA, seeds: int | None = None) -> float:
    """Smallest effect that `seeds` seeds (by default as many as ran) with this spread detect with the given power; NaN
    without an interval.

    Two-sided at `level`. It describes the design, not the effect found.
    """
    if math.isnan(estimate.half):
        return math.nan
    from scipy.optimize import brentq

    halves, error = _halves(estimate, seeds or estimate.n, level)
    most = 2 * float(halves.max()) + 10 * error
    return float(brentq(lambda effect: _found(halves, error, effect) - wanted, 0.0, most))


def power(estimate: Estimate, effect: float, seeds: int, level: float = ALPHA) -> float:
    """Probability that `seeds` seeds with this estimate's spread detect a true `effect`, two-sided at `level`.

    Only the seeds' part of the error shrinks with more seeds; that of the test items stays.
    """
    return _found(*_halves(estimate, seeds, level), effect)


def _found(halves: np.ndarray, error: float, effect: float) -> float:
    """Probability that a mean around `effect` lies farther from 0 than half an interval, over `halves`."""
    from scipy.special import ndtr

    return float((ndtr((effect - halves) / error) + ndtr((-effect - halves) / error)).mean())


def _halves(estimate: Estimate, seeds: int, level: float) -> tuple[np.ndarray, float]:
    """Half-widths that `seeds` seeds may find where the true variances are those estimated, and the true error.

    The spread of every group, and of clusters of items, is drawn by itself (χ², Latin hypercube), and degrees of
    freedom follow from what was drawn: with few seeds Welch's are themselves uncertain, which a noncentral t
    distribution of fixed degrees of freedom leaves out.
    """
    from scipy.special import chdtri

    fewer, more = estimate.n / seeds, (seeds - 1) / (estimate.n - 1)
    groups = estimate.groups or ((estimate.spread, estimate.n - 1),)
    freedoms = [freedom * more for _, freedom in groups]
    drawn = [v * fewer * chdtri(f, _points(k)) / f for k, ((v, _), f) in enumerate(zip(groups, freedoms))]
    spread, freedom = sum(drawn), _welch(drawn, freedoms)
    halves = _t_quantiles(freedom, level) * np.sqrt(spread)
    if estimate.shared:
        within, free = estimate.within * fewer, estimate.items_freedom
        between = estimate.shared + within
        between = between * chdtri(free, _points(len(groups))) / free if math.isfinite(free) else between
        shared = np.maximum(0.0, between - within)
        term = np.where(shared > 0, between**2 + estimate.within_term * fewer**2 / more, 0.0)
        whole = (spread + shared) ** 2 / (spread**2 / freedom + term / free)
        whole = np.maximum(whole, np.minimum(freedom, free))
        halves = np.maximum(halves, _t_quantiles(whole, level) * np.sqrt(spread + shared))
    return halves, math.sqrt(estimate.spread * fewer + estimate.shared)


@functools.lru_cache(maxsize=64)
def _points(column: int) -> np.ndarray:
    """Quantiles of one variance: a column of a Latin hypercube."""
    points = (np.arange(POINTS) + 0.5) / POINTS
    return np.random.default_rng(column).permutation(points) if column else points


def _t_quantiles(freedoms: np.ndarray, level: float) -> np.ndarray:
    """Two-sided quantiles of t distributions, interpolated: they are smooth in 1 / freedom."""
    from scipy.special import stdtrit

    low, high = 1 / float(np.max(freedoms)), 1 / float(np.min(freedoms))
    grid = np.linspace(low, high, 65)
    return np.exp(np.interp(1 / freedoms, grid, np.log(stdtrit(1 / grid, 1 - level / 2))))


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

    rows: int
    """Number of its rows, at all points of the axes."""
    runs: list[dict[str, float]]
    """For each seed, the factor of each score run in the seed's value: the row's coefficient, in the metric's good
    direction, over the number of fine-tunings of its leaf.
    """
    values: np.ndarray
    """Weighted sum of the leaves' scores, by seed."""
    drawn: list[list[tuple[float, list[float]]]]
    """For each seed and row, the row's coefficient and the values of its fine-tunings."""


def groups(
    records: Records,
    effect: Mapping[str, float],
    what: Measure,
    points: Sequence[str],
    seeds: Sequence[int] | None = None,
) -> list[Group]:
    """Group the rows of an effect by the pre-training that they share; points of the axes are averaged.

    A leaf's score is the mean over its fine-tunings. A group has those of `seeds` (by default all) that all its rows
    have finished. Seeds that led to the very same runs count once. Empty if a group has no seed.
    """
    share = what.sign / len(points)
    ends = {(row, point): share * times for point in points for row, times in effect.items() if times}
    return _groups(records, ends, what, seeds)


def _groups(
    records: Records, ends: Mapping[tuple[str, str], float], what: Measure, seeds: Sequence[int] | None = None
) -> list[Group]:
    """Group (row, point) with their coefficients, as `groups` does."""
    finished, descent = records.finished(what), records.descent
    seeds = records.seeds if seeds is None else seeds
    found = []
    for members in _related([*ends], descent, seeds):
        keys = [[(*end, seed) for end in members] for seed in seeds]
        by_runs = {
            tuple(run for k in of for run in finished[k][0]): of for of in keys if all(k in finished for k in of)
        }
        if not by_runs:
            return []
        factors = [ends[end] for end in members]
        runs: list[dict[str, float]] = [{} for _ in by_runs]
        for own, of in zip(runs, by_runs.values()):
            for factor, key in zip(factors, of):  # rows that are the same model share runs
                for run in finished[key][0]:
                    own[run] = own.get(run, 0.0) + factor / len(finished[key][0])
        values = [[finished[key][1] for key in of] for of in by_runs.values()]
        drawn = [[(f, list(finished[key][0].values())) for f, key in zip(factors, of)] for of in by_runs.values()]
        found.append(Group(rows=len(members), runs=runs, values=np.array(values) @ np.array(factors), drawn=drawn))
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
    sampled = items.of_groups(records, what, [(group.runs, group.values) for group in found])
    return estimate([group.values for group in found], *(sampled[:3] if sampled else ()), paired=_paired(found))


def _paired(found: Sequence[Group]) -> bool:
    return len(found) == 1 and found[0].rows > 1


def delta(records: Records, what: Measure, row: str, reference: str, point: str = "") -> Estimate:
    """Effect of `row` against `reference` at one point, over seeds."""
    return between(records, what, (row, point), (reference, point))


def between(records: Records, what: Measure, end: tuple[str, str], other: tuple[str, str]) -> Estimate:
    """Effect of one (row, point) against another, over seeds."""
    found = _groups(records, {end: what.sign, other: -what.sign}, what)
    return estimate([group.values for group in found], paired=_paired(found))


def level(lines: pd.DataFrame) -> Estimate:
    """Estimate the mean of the finished ones of these lines of `scores`; seeds that led to the very same run count
    once.
    """
    done = lines[lines.status == DONE]
    return over_seeds(done.value[~done.run.duplicated()])
