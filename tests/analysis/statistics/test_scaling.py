"""Scaling fits recover planted laws, and refuse what cannot be fitted."""

import numpy as np
import pytest

from analysis.statistics.scaling import bootstrap, fit_competition, fit_size, fit_size_and_data

SIZES = np.array([1e5, 3e5, 1e6, 3e6, 1e7])
N, D = (x.ravel() for x in np.meshgrid(SIZES, [1e6, 1e7, 1e8, 1e9]))


def test_law_of_size_is_recovered_with_noise():
    noise = np.exp(np.random.default_rng(0).normal(0, 1e-4, 5))
    fit = fit_size(SIZES, (2 + 300 / SIZES**0.45) * noise)
    assert fit["E"] == pytest.approx(2, rel=0.02) and fit["alpha"] == pytest.approx(0.45, rel=0.05)
    assert fit.predict(3e7) == pytest.approx(2 + 300 / 3e7**0.45, rel=0.01)


def test_one_wild_run_hardly_moves_the_fit():
    loss = 2 + 300 / SIZES**0.45
    loss[2] *= 1.1
    assert fit_size(SIZES, loss)["alpha"] == pytest.approx(0.45, rel=0.1)


@pytest.mark.slow
def test_competition_between_modalities_is_recovered():
    i = fit_size_and_data(N, D, 1.5 + 40 / N**0.32 + 90 / D**0.28)
    j = fit_size_and_data(N, D / 2, 2.5 + 20 / N**0.25 + 60 / (D / 2) ** 0.3)
    assert (i["alpha"], i["beta"]) == pytest.approx((0.32, 0.28), rel=0.01)
    joint = (i.predict(N, D) + j.predict(N, D / 2)) / 2 - 0.3 + 10 / N**0.3 + 40 / (1.5 * D) ** 0.3
    fit = fit_competition(N, D, D / 2, joint, i, j)
    assert (fit["C"], fit["A"], fit["alpha"]) == pytest.approx((0.3, 10, 0.3), rel=0.05)


def test_too_few_runs_are_refused_with_the_numbers():
    with pytest.raises(ValueError, match="more than 3 runs, found 3"):
        fit_size(SIZES[:3], np.array([3.0, 2.5, 2.2]))
    with pytest.raises(ValueError, match="5 parameters.*found 5"):
        fit_size_and_data(SIZES, SIZES, SIZES)
    with pytest.raises(ValueError, match="exponent of D needs at least 3"):
        fit_size_and_data(N[:10], D[:10], np.ones(10))
    with pytest.raises(ValueError, match="positive"):
        fit_size(SIZES, np.array([1.0, 1.0, np.nan, 1.0, 1.0]))


def test_bootstrap_refits_to_runs_drawn_again_and_covers_the_truth():
    n = np.repeat(SIZES, 3)
    loss = (2 + 300 / n**0.45) * np.exp(np.random.default_rng(1).normal(0, 0.005, len(n)))
    fits = bootstrap(fit_size, (n,), loss, fit_size(n, loss), draws=20)
    low, high = np.quantile([fit.predict(1e6) for fit in fits], [0.025, 0.975])
    assert 10 < len(fits) <= 20 and low < 2 + 300 / 1e6**0.45 < high < 1.05 * low
