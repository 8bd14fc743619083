"""The chance that seeds to come decide a claim, by hand and against simulation."""

import math

import numpy as np
import pytest

from analysis.statistics import simulate
from analysis.statistics.compare import Estimate, estimate, over_seeds
from analysis.statistics.futility import chance, hopeless


def sure(mean, error=1.0, n=5):
    """An estimate whose spread is known."""
    return Estimate(mean=mean, error=error, freedom=1e7, n=n, groups=((error**2, 1e7),))


def test_chance_by_hand_where_the_spread_is_known():
    """Of 5 seeds with standard error 1, 8 have √(5/8), and their mean moves by √(1 - 5/8)."""
    later, moves = math.sqrt(5 / 8), math.sqrt(3 / 8)

    def above(x):
        return 0.5 * math.erfc(x / math.sqrt(2))

    assert chance(sure(0.0), (0.0,), None, 8, 0.05) == pytest.approx(2 * above(1.96 * later / moves), rel=0.15)
    one = above((1.96 * later - 1) / moves) + above((1.96 * later + 1) / moves)
    assert chance(sure(1.0), (0.0,), None, 8, 0.05) == pytest.approx(one, abs=0.01)
    assert chance(sure(3.0), (2.0,), None, 8, 0.05) == pytest.approx(one, abs=0.01)
    equivalent = 1 - 2 * above((2.0 - 1.645 * later) / moves)
    assert chance(sure(0.0), (0.0,), 2.0, 8, 0.05) == pytest.approx(equivalent, abs=0.02)
    outside = 2 * above((2.0 + 1.96 * later) / moves)
    assert chance(sure(0.0), (-2.0, 2.0), None, 8, 0.05) == pytest.approx(equivalent + outside, abs=0.02)


def test_more_effect_and_a_milder_level_make_a_decision_likelier():
    x = np.array([-0.5, 0.3, 1.0, -0.2, 0.4])
    chances = [chance(over_seeds(x + shift), (0.0,), None, 8, 0.0375) for shift in (0.0, 0.5, 1.0, 2.0)]
    assert chances == sorted(chances) and chances[-1] > 0.95
    assert chance(over_seeds(x), (0.0,), None, 8, 0.01) < chance(over_seeds(x), (0.0,), None, 8, 0.05)


def test_items_make_a_decision_less_likely():
    x = np.array([0.5, 1.0, 1.6, 0.7, 1.2])
    parts = np.linspace(-1, 1, 9) * np.ones((5, 1))
    both = estimate([x], [parts])
    assert both.shared > 0.5
    assert chance(both, (0.0,), None, 8, 0.05) < chance(over_seeds(x), (0.0,), None, 8, 0.05)


def test_without_an_interval_nothing_is_hopeless():
    assert math.isnan(chance(over_seeds([1.0]), (0.0,), None, 8, 0.05))
    assert not hopeless(over_seeds([1.0]), (0.0,), None, 8, 0.05)
    assert not hopeless(over_seeds([1.0, 1.0]), (0.0,), None, 8, 0.05)


def test_five_seeds_around_nothing_are_hopeless_and_three_are_not():
    spread = [-1.0, 0.0, 1.0]
    assert not hopeless(over_seeds(spread), (0.0,), None, 8, 0.0375)
    assert hopeless(over_seeds([-1.0, -0.5, 0.0, 0.5, 1.0]), (0.0,), None, 8, 0.0375)
    assert not hopeless(over_seeds([-1.0, -0.5, 0.0, 0.5, 1.0]), (0.0,), 1.5, 8, 0.0375)  # it may prove equivalent


def test_chance_is_near_the_share_that_is_decided():
    """Over effects of all sizes. The spread's uncertainty makes it cautious: it overrates what is unlikely."""
    rng, foretold, decided = simulate.stream("chance"), [], []
    for _ in range(800):
        a, b = rng.normal(0, 1, (2, 8)) + [[rng.uniform(-5, 5)], [0]]
        foretold.append(chance(estimate([a[:5], -b[:5]]), (0.0,), None, 8, 0.0375))
        decided.append(estimate([a, -b]).p() < 0.0375)
    foretold, decided = np.array(foretold), np.array(decided)
    assert decided.mean() == pytest.approx(foretold.mean(), abs=0.04)
    assert decided[foretold < 0.05].mean() < 0.05 and decided[foretold > 0.9].mean() > 0.97
    middle = (foretold > 0.2) & (foretold < 0.8)
    assert decided[middle].mean() == pytest.approx(foretold[middle].mean(), abs=0.15)
