"""Tests of several claims at several looks at growing data, with one bound on all errors: pure functions of p-values.

A claim may have two null hypotheses, of which at most one is true: `DIFFERENCE`, "there is no difference from the
bound", and, where a margin is declared, `EQUIVALENCE`, "the difference is at least the margin". A false "equivalent" is
so an error like any other. None of this assumes independence of looks, claims or hypotheses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

LEVEL = 0.05
"""Bound on the probability of any error in a family."""
LAST = 0.75
"""Weight of the last look."""
DIFFERENCE, EQUIVALENCE = "difference", "equivalence"

Claim = TypeVar("Claim")
Hypothesis = TypeVar("Hypothesis")

DECIDED, FUTILE, FINISHED, ON = "decided", "futile", "finished", "on"
"""What happens to a claim after a look: see `next_step`."""


def weights(looks: Sequence[int]) -> dict[int, float]:
    """Return the share of the level that each look has: `LAST` for the last, the rest equally for those before it; 1
    for a single one.
    """
    *early, last = looks
    return {look: (1 - LAST) / len(early) for look in early} | {last: LAST if early else 1.0}


def joined(ps: Mapping[int, float], weights: Mapping[int, float]) -> float:
    """Return the p-value of a hypothesis that was tested at several looks, {look: p}: the least p / weight, at most 1.

    This is Bonferroni's bound over all declared looks, and it holds at any stop. NaN before the first look.
    """
    return min((min(1.0, p / weights[look]) for look, p in ps.items() if not math.isnan(p)), default=math.nan)


def deciding(ps: Mapping[int, float], weights: Mapping[int, float]) -> int | None:
    """Return the look that gives `joined` its value, the later of equal ones; None before the first."""
    taken = [look for look, p in ps.items() if not math.isnan(p)]
    return min(taken, key=lambda look: (min(1.0, ps[look] / weights[look]), -look), default=None)


def stepdown(p: Mapping[Claim, Mapping[Hypothesis, float]]) -> dict[Claim, dict[Hypothesis, float]]:
    """Adjust the p-values of all hypotheses of a family of claims for their number.

    Holm's procedure (1979) with what logic excludes (Shaffer 1986): of a claim's hypotheses at most one is true, so
    that the factor of each step is the number of claims that have a hypothesis left to reject. With one hypothesis a
    claim this is Holm's own; to find a difference makes no test of equivalence more lenient. A NaN (nothing measured
    yet) stays NaN, but its claim counts.
    """
    every = [(claim, hypothesis, value) for claim, of in p.items() for hypothesis, value in of.items()]
    order = sorted(every, key=lambda one: (math.isnan(one[2]), one[2]))
    left = Counter(claim for claim, _, _ in order)
    adjusted: dict[Claim, dict[Hypothesis, float]] = {claim: dict(of) for claim, of in p.items()}
    floor = 0.0
    for claim, hypothesis, value in order:
        if not math.isnan(value):
            floor = adjusted[claim][hypothesis] = max(floor, min(1.0, len(left) * value))
        left[claim] -= 1
        left += Counter()  # drops claims that have none left
    return adjusted


def found(adjusted: Mapping[str, float], level: float = LEVEL) -> str:
    """Return the hypothesis of a claim that its adjusted p-values reject, a difference before equivalence; "" if none.

    NaN rejects nothing.
    """
    return next((name for name in (DIFFERENCE, EQUIVALENCE) if adjusted.get(name, math.nan) < level), "")


def next_step(decided: bool, hopeless: bool, look: int, looks: Sequence[int]) -> str:
    """Return what happens to a claim after a look: `DECIDED`, `FINISHED` (there is no further look), `FUTILE` (the last
    look would hardly decide it), or `ON`: more seeds, to the next look.

    Futility only ever stops, so it adds no error.
    """
    if decided:
        return DECIDED
    if look >= looks[-1]:
        return FINISHED
    return FUTILE if hopeless else ON


def remaining(looks: Sequence[int], claims: int, level: float = LEVEL) -> float:
    """Return the level at which the last look tests the first and strictest step of a family of `claims` claims."""
    return level * weights(looks)[looks[-1]] / max(1, claims)
