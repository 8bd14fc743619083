"""Intervals, paired differences, correction and verdicts, against hand-computed numbers and simulation."""

import math

import numpy as np
import pandas as pd
import pytest

from analysis.records.frame import measure, read
from analysis.statistics.claims import decide, verdicts
from analysis.statistics.compare import Estimate, contrast, delta, detectable, holm, over_seeds, with_items


def test_t_interval_of_three_seeds_by_hand():
    e = over_seeds([1.0, 2.0, 4.0])
    assert e.mean == pytest.approx(7 / 3)
    sd = math.sqrt(((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2)  # 1.5275
    assert e.half == pytest.approx(4.302653 * sd / math.sqrt(3), rel=1e-6)
    assert (e.low, e.high) == (e.mean - e.half, e.mean + e.half)


def test_one_seed_and_equal_seeds_have_no_interval():
    assert math.isnan(over_seeds([3.0]).half) and math.isnan(over_seeds([3.0]).p())
    assert math.isnan(over_seeds([3.0, 3.0, 3.0]).half)
    assert over_seeds([]).n == 0 and math.isnan(over_seeds([]).mean)


def test_p_value_agrees_with_scipy():
    from scipy.stats import ttest_1samp

    x = [0.3, 1.1, 0.2, 0.9, 1.6]
    assert over_seeds(x).p() == pytest.approx(ttest_1samp(x, 0).pvalue)
    assert over_seeds(x).p(1.0) == pytest.approx(ttest_1samp(x, 1.0).pvalue)


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.5, "b": 0.9}) == pytest.approx({"a": 1.0, "b": 1.0})
    counted = holm({"a": 0.02, "b": math.nan})  # a claim without data yet still counts
    assert counted["a"] == pytest.approx(0.04) and math.isnan(counted["b"])


def frame(values: dict[str, dict[int, float]], point: str = "") -> pd.DataFrame:
    table = pd.DataFrame(values)
    table.index = pd.MultiIndex.from_tuples([(point, seed) for seed in table.index], names=["point", "seed"])
    return table


def test_differences_are_paired_by_seed_and_point_in_the_good_direction():
    values = frame({"a": {0: 10.0, 1: 30.0, 2: 50.0}, "b": {0: 12.0, 1: 31.0, 3: 9.0}})
    lower = contrast(values, {"a": 1.0, "b": -1.0}, -1.0, [""])  # WER: a is lower, so better
    assert lower.to_dict() == {0: 2.0, 1: 1.0}  # seeds 2 and 3 have no partner
    assert contrast(values, {"a": 1.0, "c": -1.0}, 1.0, [""]).empty


def test_difference_of_differences_and_points_are_averaged():
    one = frame({"a": {0: 5.0}, "b": {0: 3.0}, "c": {0: 1.0}, "d": {0: 2.0}}, "x=1")
    two = frame({"a": {0: 9.0}, "b": {0: 3.0}, "c": {0: 1.0}, "d": {0: 2.0}}, "x=2")
    effect = {"a": 1.0, "b": -1.0, "c": -1.0, "d": 1.0}
    assert contrast(pd.concat([one, two]), effect, 1.0, ["x=1", "x=2"]).to_dict() == {0: 5.0}
    assert contrast(one, effect, 1.0, ["x=1", "x=2"]).empty  # a point is missing


def test_paired_delta_from_records(fake):
    records = read(fake(seeds=(0, 1, 2)))
    what = measure(records, "asr")
    values = records.values(what)
    paired = delta(values, what.sign, "speech_only", "joint")
    by_hand = (values["joint"] - values["speech_only"]).to_numpy()
    assert paired.mean == pytest.approx(by_hand.mean()) and paired.n == 3
    assert paired.error == pytest.approx(by_hand.std(ddof=1) / math.sqrt(3))


def test_variance_of_items_widens_and_frees():
    e = over_seeds([1.0, 2.0, 3.0])
    both = with_items(e, e.error**2)
    assert both.error == pytest.approx(e.error * math.sqrt(2)) and both.freedom == pytest.approx(8.0)
    assert both.over == "seeds and items"


@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0, 4.0])
def test_variance_of_items_never_makes_surer(seeds, share):
    e = over_seeds([1.0 + 0.1 * k for k in range(seeds)])
    both = with_items(e, share * e.error**2)
    assert both.half >= e.half * (1 - 1e-9) and detectable(both) >= detectable(e) * (1 - 1e-9)
    for threshold in (0.0, 0.5, both.mean - 0.01, both.mean + 2.0):
        assert both.p(threshold) >= e.p(threshold) * (1 - 1e-9)


def test_seed_test_calls_equal_rows_different_in_five_percent():
    rng = np.random.default_rng(1)
    for seeds in (3, 5):
        shared = rng.normal(0, 3, (4000, seeds))
        a, b = (shared + rng.normal(0, 1, (4000, seeds)) for _ in range(2))
        called = np.mean([over_seeds(x).p() < 0.05 for x in a - b])
        assert called == pytest.approx(0.05, abs=0.011)  # three standard errors of 4000 draws


def test_detectable_effect_has_the_stated_power():
    rng = np.random.default_rng(2)
    n, spread = 5, 2.0
    effect = detectable(Estimate(mean=0.0, error=spread / math.sqrt(n), freedom=n - 1, n=n))
    power = np.mean([(e := over_seeds(x)).p() < 0.05 and e.mean > 0 for x in rng.normal(effect, spread, (3000, n))])
    assert power == pytest.approx(0.8, abs=0.025)


ABOVE, BELOW, WITHIN = {"above": 0}, {"below": 0}, {"within": 1.0}


@pytest.mark.parametrize(
    ("claim", "mean", "error", "adjusted", "verdict"),
    [
        (ABOVE, 2.0, 0.1, 0.001, "supported"),
        (ABOVE, -2.0, 0.1, 0.001, "refuted"),
        (BELOW, -2.0, 0.1, 0.001, "supported"),
        (BELOW, 2.0, 0.1, 0.001, "refuted"),
        (ABOVE, 2.0, 2.0, 0.4, "undecided"),
        (ABOVE, 2.0, 0.4, 0.08, "undecided"),  # clear alone, not after correction
        ({"above": 0, "margin": 1.0}, 0.1, 0.1, 0.9, "equivalent"),
        ({"above": 0, "margin": 0.2}, 0.1, 0.1, 0.9, "undecided"),
        ({"above": 1.0}, 0.2, 0.1, 0.001, "refuted"),  # good, but not by as much as claimed
        (WITHIN, 0.1, 0.1, 0.001, "equivalent"),
        (WITHIN, 0.1, 2.0, 0.4, "undecided"),
        (WITHIN, 3.0, 0.1, 0.001, "refuted"),
    ],
)
def test_verdict_table(claim, mean, error, adjusted, verdict):
    assert decide(claim, Estimate(mean=mean, error=error, freedom=4, n=5), adjusted)[0] == verdict


def test_margins_are_two_one_sided_tests_corrected_for_the_claims():
    estimate = Estimate(mean=0.1, error=0.1, freedom=4, n=5)  # t = (.4 - .1) / .1 = 3: one-sided p = .01997
    assert decide({"above": 0, "margin": 0.4}, estimate, 0.9, claims=2)[0] == "equivalent"
    assert "p = 0.04," in decide({"above": 0, "margin": 0.4}, estimate, 0.9, claims=2)[1]
    assert decide({"above": 0, "margin": 0.4}, estimate, 0.9, claims=3)[0] == "undecided"
    outside = Estimate(mean=2.0, error=0.9, freedom=4, n=5)
    assert decide({"above": 0, "margin": 0.4}, outside, 0.3)[0] == "undecided"


def claims_of(fake, claim, **options):
    return verdicts(read(fake(claims={"c": claim}, **options)))[0]


def claim(a, b, on="asr.wer", **more):
    return {"effect": f"{a} - {b}", "coefficients": {a: 1.0, b: -1.0}, "on": on, **more}


def test_planted_effects_are_found_in_both_directions(fake):
    seeds = (0, 1, 2, 3, 4)
    assert claims_of(fake, claim("speech_only", "scratch", above=0), seeds=seeds).verdict == "supported"
    assert claims_of(fake, claim("scratch", "speech_only", above=0), seeds=seeds).verdict == "refuted"


def test_one_seed_is_undecided_and_says_why_with_an_interval_over_items(fake):
    v = claims_of(fake, claim("speech_only", "scratch", above=0))
    assert v.verdict == "undecided" and v.reason.startswith("one seed")
    assert v.items[0] < v.estimate.mean < v.items[1] and math.isnan(v.estimate.half)


def test_no_assay_when_the_task_cannot_show_it(fake):
    dead = {"assay": "joint - joint", "assay_coefficients": {"joint": 1.0, "joint_placebo": -1.0}}
    v = claims_of(fake, claim("speech_only", "scratch", above=0) | dead, seeds=(0, 1, 2, 3, 4))
    assert v.verdict == "no assay"


def test_a_verdict_before_the_last_seed_says_so(fake):
    options = {"missing": (("scratch", 4, "asr"),), "seeds": (0, 1, 2, 3, 4)}
    v = claims_of(fake, claim("speech_only", "scratch", above=0), **options)
    assert v.verdict == "supported" and v.reason == "so far: 4 of 5 seeds are finished"


def test_a_claim_on_unfinished_rows_is_undecided(fake):
    v = claims_of(fake, claim("speech_only", "scratch", above=0), missing=(("scratch", None, "asr"),), seeds=(0, 1))
    assert (v.verdict, v.reason) == ("undecided", "nothing to compare yet")
