"""Compare rows: means and intervals over seeds and items, paired differences, correction for multiple tests.

Effects point in the metric's good direction: a positive effect is an improvement, for metrics of either direction.
A difference is paired by seed before anything is averaged, and one seed has no interval.
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

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
MANY = 1000
"""Maximum number of seeds that is suggested."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over `n` seeds with its t-interval; `low` and `high` are NaN where the spread is unknown."""

    mean: float
    error: float = math.nan
    """Standard error of the mean."""
    freedom: float = math.nan
    """Degrees of freedom of the t distribution."""
    n: int
    over: str = "seeds"
    """What was sampled: "seeds", "items" or "seeds and items"."""
    shared: float = 0.0
    """Part of the squared error that more seeds do not reduce: all seeds share the test items."""

    @property
    def half(self) -> float:
        """Half-width of the interval; NaN for one seed, and for seeds that all gave exactly the same value.

        Over seeds and items it is never less than over seeds only, although more degrees of freedom would make it so.
        """
        if self.n < 2 or not self.error > 0:
            return math.nan
        return max(float(_t_quantile(freedom) * error) for freedom, error in self._spreads)

    @property
    def _spreads(self) -> list[tuple[float, float]]:
        """Degrees of freedom and standard error of all that was sampled and, where that is more than seeds, of seeds
        alone.
        """
        alone = [(self.n - 1, math.sqrt(max(0.0, self.error**2 - self.shared)))] if self.shared else []
        return [(self.freedom, self.error), *alone]

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


def with_items(estimate: Estimate, variance: float) -> Estimate:
    """Add the variance that comes from the test items to an estimate over seeds (Satterthwaite's degrees of freedom).

    The seeds share their items, so the spread between seeds does not contain it. The approximate degrees of freedom
    grow with the items' part: on their own they would make some intervals narrower than those without items.
    """
    spread = estimate.error**2
    if not spread > 0:
        return estimate
    total = spread + variance
    return replace(
        estimate,
        error=math.sqrt(total),
        freedom=total**2 * estimate.freedom / spread**2,
        over="seeds and items",
        shared=variance,
    )


def detectable(estimate: Estimate, wanted: float = 0.8) -> float:
    """Smallest effect that the same number of seeds with this spread detects with the given power; NaN without an
    interval.

    Two-sided at 5 %, from the noncentral t distribution. It describes the design, not the effect found.
    """
    if math.isnan(estimate.half):
        return math.nan
    from scipy.optimize import brentq

    return float(brentq(lambda effect: power(estimate, effect, estimate.n) - wanted, 0.0, 60 * estimate.half))


def power(estimate: Estimate, effect: float, seeds: int, level: float = ALPHA) -> float:
    """Probability that `seeds` seeds with this estimate's spread detect a true `effect`, two-sided at `level`.

    From the noncentral t distribution, integrated over the observed spread: scipy's own function gives NaN for many
    seeds. Only the seeds' part of the error shrinks with more seeds; that of the test items stays.
    """
    from scipy.special import chdtri, ndtr, stdtrit

    spread = (estimate.error**2 - estimate.shared) * estimate.n / seeds
    total = spread + estimate.shared
    spreads = ((total**2 * (seeds - 1) / spread**2, total), (seeds - 1, spread))  # all that is sampled, and seeds alone
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


def contrast(values: pd.DataFrame, effect: Mapping[str, float], sign: float, points: Sequence[str]) -> pd.Series:
    """Effect per seed, times `sign`, over the seeds that have every row at every point (points are averaged).

    `values` is a frame of (point, seed) × row; if a row has no values yet, the series is empty.
    """
    if values.empty or any(row not in values for row in effect):
        return pd.Series(dtype=float)
    columns = [values.columns.get_loc(row) for row in effect]
    each = sign * (values.to_numpy()[:, columns] @ np.array(list(effect.values())))
    if len(points) == 1:  # a faster way to the same result: a large table asks for thousands
        (known, seeds), (at, seed) = values.index.levels, values.index.codes
        here = ~np.isnan(each) & (at == (known.get_loc(points[0]) if points[0] in known else -1))
        return pd.Series(each[here], index=seeds.to_numpy()[seed[here]])
    each = pd.Series(each, index=values.index).unstack("point")
    return each.reindex(columns=list(points)).dropna().mean(axis=1)


def delta(values: pd.DataFrame, sign: float, row: str, reference: str, point: str = "") -> Estimate:
    """Paired effect of `row` against `reference` at one point, times `sign`, over the seeds that have both."""
    return over_seeds(contrast(values, {row: 1.0, reference: -1.0}, sign, [point]))


def effect_with_items(
    records: Records, effect: Mapping[str, float], what: Measure, points: Sequence[str] | None = None
) -> tuple[Estimate, tuple[float, float]]:
    """Estimate an effect over seeds and, where the records hold per-item counts, items; and the interval over items
    only.

    Points of the axes (by default all) are averaged.
    """
    points = points or records.points
    per_seed = contrast(records.values(what), effect, what.sign, points)
    estimate = over_seeds(per_seed)
    drawn_SD = items.by_seed(records, effect, what, list(per_seed.index), points)
    if drawn_SD is None:
        return estimate, (math.nan, math.nan)
    low, high = np.quantile(drawn_SD.mean(axis=0), [ALPHA / 2, 1 - ALPHA / 2])
    return with_items(estimate, items.shared_variance(drawn_SD)), (float(low), float(high))
