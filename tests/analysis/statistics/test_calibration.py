"""A row against itself is called different at the nominal rate, and planted effects are found with the power
foretold.
"""

from dataclasses import replace

import numpy as np
import pytest

from analysis import calibrate
from analysis.calibrate import Pool
from analysis.records.frame import Measure, measure, read
from analysis.statistics import compare
from analysis.statistics.compare import Estimate

WER = Measure(task="asr", split="test", metric="wer", better="lower", unit="%")


def synthetic(seeds: int, noise: float, rng: np.random.Generator, size: int = 300) -> Pool:
    """Seeds of a row whose level varies by `noise`, each right or wrong on shared items that differ in difficulty."""
    difficulty = rng.normal(0, 1, size)
    shift = rng.normal(0, noise, seeds)
    wrong = rng.random((seeds, size)) < 1 / (1 + np.exp(-(difficulty + shift[:, None])))
    values = 100 * wrong.mean(axis=1)
    return Pool(what=WER, values=values, parts=(100 * wrong - values[:, None]) / (size - 1))


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_equal_rows_are_called_different_in_at_most_five_percent(noise):
    rng = np.random.default_rng(3)
    calibrations = [calibrate.calibrate(synthetic(40, noise, rng), 5, draws=150) for _ in range(6)]
    assert 0.02 < np.mean([c.over_seeds for c in calibrations]) < 0.08
    assert np.mean([c.over_both for c in calibrations]) < 0.06
    assert np.mean([c.any_of_table for c in calibrations]) < 0.08
    assert 0.72 < np.mean([c.found for c in calibrations]) < 0.88 and calibrations[0].predicted == 0.8


def test_items_alone_take_the_seeds_that_ran_for_all_there_are():
    calibration = calibrate.calibrate(synthetic(40, 0.5, np.random.default_rng(5)), 3, draws=150)
    assert calibration.over_items > 0.3 > calibration.over_seeds


def test_declared_looks_call_equal_rows_different_in_at_most_five_percent():
    own = synthetic(40, 0.3, np.random.default_rng(6))
    at_looks = np.mean(
        [
            calibrate.calibrate(replace(own, values=own.values[of], parts=own.parts[of]), 8, 100).at_looks
            for of in (slice(None), slice(0, 24), slice(16, 40))
        ]
    )
    assert 0 < at_looks < 0.08
    assert np.isnan(calibrate.calibrate(own, 5, draws=2).at_looks)


def test_too_few_seeds_are_refused(fake):
    with pytest.raises(ValueError, match="too few for two groups"):
        calibrate.calibrate(synthetic(5, 0.1, np.random.default_rng(0)), 3, draws=1)
    with pytest.raises(calibrate.UserError, match="at least 6"):
        calibrate.sheet(read(fake(rows=("joint",), seeds=(0, 1), claims={}, table={})), "joint")


def test_seeds_that_are_all_equal_calibrate_nothing(fake, monkeypatch):
    records = read(
        fake(rows=("joint",), tasks=("asr",), seeds=tuple(range(6)), claims={}, table={"columns": ["asr.test.wer"]})
    )
    pool = replace(synthetic(6, 0.1, np.random.default_rng(0)), values=np.full(6, 100.0), parts=None)
    monkeypatch.setattr(calibrate, "pool", lambda *of: pool)
    (line,) = calibrate.sheet(records, "joint").lines
    assert line[2:] == ["—", "—", "—", "—", "— (1 rows)", "—", "—", "80.0 %"]


def test_a_pool_has_the_means_of_leaves(fake):
    records = read(fake(rows=("joint",), tasks=("asr",), seeds=(0, 1, 2), draws=3, claims={}, table={}))
    what = measure(records, "asr")
    own = calibrate.pool(records, "joint", what)
    drawn = [list(runs.values()) for runs, _ in records.finished(what).values()]
    assert [len(of) for of in drawn] == [3, 3, 3] and own.parts.shape[0] == 3
    assert own.values == pytest.approx([np.mean(of) for of in drawn])


def test_sheet_has_a_line_per_column_and_size(fake):
    records = read(
        fake(rows=("joint",), tasks=("asr",), seeds=tuple(range(10)), claims={}, table={"columns": ["asr.test.wer"]})
    )
    sheet = calibrate.sheet(records, "joint", draws=20)
    assert [line[1] for line in sheet.lines] == ["3", "5"] and "pool of 10 seeds" in sheet.title
    assert all(len(line) == len(sheet.heads) for line in sheet.lines)
    assert all(len(line) == len(sheet.fields) for line in sheet.values)


def test_shared_variance_is_that_of_the_items_alone():
    """Effects of (seed, item) = item + noise: the mean over seeds and items varies by var(item) / items through the
    items.
    """
    rng = np.random.default_rng(1)
    size, seeds = 400, 4
    found = []
    for _ in range(40):
        y = rng.normal(0, 1.0, size) + rng.normal(0, 2.0, (seeds, size))
        values = y.mean(axis=1)
        found.append(compare.estimate([values], [(y - values[:, None]) / (size - 1)]).shared)
    assert np.mean(found) == pytest.approx(1.0 / size, rel=0.15)  # the naive variance would be (1 + 4 / 4) / size


def test_power_and_seeds_needed_against_simulation():
    plan = Estimate(mean=0.0, error=2.0 / np.sqrt(5), freedom=4, n=5)  # spread between seeds: 2
    seeds = compare.needed(plan, 2.0)
    assert compare.power(plan, 2.0, seeds) >= 0.8 > compare.power(plan, 2.0, seeds - 1)
    draws = np.random.default_rng(0).normal(2.0, 2.0, (4000, seeds))
    t = draws.mean(1) / (draws.std(1, ddof=1) / np.sqrt(seeds))
    from scipy.stats import t as student

    assert (abs(t) > student.ppf(0.975, seeds - 1)).mean() == pytest.approx(compare.power(plan, 2.0, seeds), abs=0.02)
    assert compare.needed(plan, 2.0, level=0.01) > seeds


@pytest.mark.parametrize(("seeds", "effect"), [(3, 2.0), (3, 3.5), (5, 2.0)])
def test_power_of_two_groups_knows_that_welchs_degrees_of_freedom_are_uncertain(seeds, effect):
    draws = np.random.default_rng(seeds).normal(0, 1, (2000, 2, seeds))
    found = np.mean([compare.estimate([a + effect, -b]).low > 0 for a, b in draws])
    each = (1 / seeds, seeds - 1)
    plan = Estimate(mean=0.0, error=np.sqrt(2 / seeds), freedom=2 * (seeds - 1), groups=(each, each), n=seeds)
    assert compare.power(plan, effect, seeds) == pytest.approx(found, abs=0.03)
    assert compare.power(plan, compare.detectable(plan, seeds=2 * seeds), 2 * seeds) == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("of_items", [0.0, 0.8])
def test_power_grows_with_seeds_and_is_that_of_the_interval(of_items):
    """Two groups whose 27 clusters move with their seeds alone (I), or with their items, too."""
    rng, clusters, effect = np.random.default_rng(2), 27, 1.0

    def drawn(seeds):
        values, parts = [], []
        for sign in (1, -1):
            own = rng.normal(0, 0.45, (seeds, 1)) + rng.normal(0, 1.5, (seeds, clusters))
            y = sign * (own + rng.normal(0, of_items, clusters))
            values.append(y.mean(1))
            parts.append((y - y.mean(1, keepdims=True)) / (clusters - 1))
        return compare.estimate(values, parts)

    of_seeds, shared = 2 * (0.45**2 + 1.5**2 / clusters), 2 * of_items**2 / clusters
    plan = replace(drawn(400), shared=shared, error=np.sqrt(of_seeds / 400 + shared))
    powers = [compare.power(plan, effect, seeds) for seeds in (3, 5, 8, 12, 50, 1000)]
    assert powers == sorted(powers)
    found = np.mean([effect + e.mean - e.half > 0 for e in (drawn(8) for _ in range(1500))])
    assert powers[2] == pytest.approx(found, abs=0.04)


def test_no_number_of_seeds_outruns_the_items():
    plan = Estimate(mean=0.0, error=np.sqrt(5.0), freedom=100, n=5, shared=4.0)
    assert compare.needed(plan, 2.0) is None and compare.needed(plan, 8.0) is not None
