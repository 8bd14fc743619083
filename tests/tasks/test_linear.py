"""Closed-form readings of a representation, against values worked out apart."""

import numpy as np
import pytest

from ablate.tasks.measured import linear

RNG = np.random.default_rng(0)


def test_cka_knows_rotations_and_is_zero_by_chance():
    x = RNG.normal(size=(60, 8))
    rotation, _ = np.linalg.qr(RNG.normal(size=(8, 8)))
    assert linear.cka(x, 3 * x @ rotation + 5) == pytest.approx(1)
    unrelated = [linear.cka(RNG.normal(size=(60, 40)), RNG.normal(size=(60, 40))) for _ in range(40)]
    assert abs(np.mean(unrelated)) < 3 * np.std(unrelated) / 40**0.5 + 0.01  # the plain estimate is near .4 here
    assert linear.cka(np.ones((9, 2)), RNG.normal(size=(9, 2))) == 0


def test_hsic_by_its_definition_over_distinct_items():
    """The unbiased estimate is the mean of k_ij (l_ij + l_qr - 2 l_iq) over distinct i, j, q, r."""
    from itertools import permutations

    k_NN, l_NN = (z @ z.T for z in (RNG.normal(size=(6, 2)), RNG.normal(size=(6, 3))))
    terms = [k_NN[i, j] * (l_NN[i, j] + l_NN[q, r] - 2 * l_NN[i, q]) for i, j, q, r in permutations(range(6), 4)]
    hollow = [m - np.diag(np.diag(m)) for m in (k_NN, l_NN)]
    assert linear._hsic(*hollow) == pytest.approx(np.mean(terms))


def test_regression_recovers_an_affine_map():
    x = RNG.normal(size=(400, 3))
    weights, start = linear.regression(x, x @ [[2.0], [0.0], [-1.0]] + 4, ridge=1e-9)
    assert weights[:, 0] == pytest.approx([2, 0, -1], abs=1e-6) and start == pytest.approx([4])


def test_discriminant_minds_the_covariance_and_the_prior():
    """Two classes apart along a direction of little spread, with much spread across it."""
    labels = np.repeat(["a", "b"], 200)
    x = np.stack([RNG.normal(0, 20, 400), RNG.normal(0, 0.1, 400) + (labels == "b")], 1)
    assert (linear.discriminant(x, labels, x, ridge=1e-6) == labels).mean() > 0.99
    noise = RNG.normal(size=(400, 2))
    assert set(linear.discriminant(noise, np.repeat([0, 1], [390, 10]), noise)) == {0}


def test_area_by_hand():
    assert linear.area(np.array([1.0, 2.0, 3.0, 2.0]), np.array([False, True, True, False])) == pytest.approx(3.5 / 4)
