"""Whether the seeds still to come are worth their cost: the predictive probability that a claim will be decided.

It only ever ends a claim as undecided, so it cannot add a false verdict; what it may cost is power
(`analysis.statistics.simulate` measures both).
"""

from __future__ import annotations

import math

import numpy as np

from analysis.statistics.compare import Estimate

UNLIKELY = 0.01
"""A claim less likely than this to be decided is given up. Chosen by simulation (docs/statistics.md)."""
POINTS = 200
"""Quantiles of the true spread over which the probability is summed."""


def hopeless(estimate: Estimate, edges: tuple[float, ...], margin: float | None, seeds: int, level: float) -> bool:
    """Whether a claim is so unlikely to be decided by `seeds` seeds, those that ran among them, that going on is waste.

    Arguments are those of `chance`. Never where there is no interval yet.
    """
    return chance(estimate, edges, margin, seeds, level) < UNLIKELY


def chance(estimate: Estimate, edges: tuple[float, ...], margin: float | None, seeds: int, level: float) -> float:
    """Predictive probability that a claim is supported, refuted or equivalent once `seeds` seeds have run.

    `edges` are the claim's bound, or the two of `within`; `margin` is how near to its one bound an effect is
    equivalent; `level` is the share of false verdicts that correction leaves to the claim at that look. NaN without an
    interval.

    The spread is as estimated, with its uncertainty (scaled inverse χ²); given it, the mean of the seeds to come lies
    around the one found, so that the mean of all moves by variance V_s (1 - n / N). Test items stay the same.
    """
    if math.isnan(estimate.half):
        return math.nan
    from scipy.special import chdtri, ndtr, stdtrit

    (freedom, _), (last, _) = estimate.with_seeds(seeds)
    ran, first, spread = estimate.n / seeds, estimate.seeds_freedom, estimate.spread
    true = spread * first / chdtri(first, (np.arange(POINTS) + 0.5) / POINTS)
    of_seeds = ran * (first * spread + (last - first) * true) / last
    of_all = of_seeds + estimate.shared

    def half(tail: float) -> np.ndarray:
        return np.maximum(stdtrit(last, 1 - tail) * np.sqrt(of_seeds), stdtrit(freedom, 1 - tail) * np.sqrt(of_all))

    centre = sum(edges) / len(edges)
    outer = max(edges) - centre
    inner = outer or margin or 0.0
    far = outer + half(level / 2)
    near = np.minimum(np.maximum(0.0, inner - half(level)), far)
    found, moves = estimate.mean - centre, np.sqrt(true * max(1 - ran, 1e-9))

    def within(distance: np.ndarray) -> np.ndarray:
        return ndtr((distance - found) / moves) - ndtr((-distance - found) / moves)

    return float(1 - (within(far) - within(near)).mean())
