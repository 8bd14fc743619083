"""Intervals, paired differences, correction and verdicts, against hand-computed numbers and simulation."""

import json
import math
import re

import numpy as np
import pytest

from analysis.records.frame import measure, read
from analysis.statistics.claims import decide, measured, verdicts
from analysis.statistics.compare import (
    Estimate,
    delta,
    detectable,
    effect_over_seeds,
    estimate,
    groups,
    holm,
    over_seeds,
)
from analysis.statistics.looks import DIFFERENCE, EQUIVALENCE
from analysis.statistics.simulate import World, scores, stream


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


def test_welch_by_hand():
    """s²/n is 4/3 and 18/2: V is 31/3."""
    e = estimate([np.array([2.0, 4.0, 6.0]), np.array([-3.0, 3.0])])
    assert (e.mean, e.n) == (4.0, 2) and e.error**2 == pytest.approx(4 / 3 + 9)
    assert e.freedom == pytest.approx((4 / 3 + 9) ** 2 / ((4 / 3) ** 2 / 2 + 9**2))


def test_welch_agrees_with_scipy():
    from scipy.stats import ttest_ind

    a, b = np.array([1.0, 2.5, 3.0, 2.2, 5.1]), np.array([0.2, 0.1, 0.6, 0.5])
    assert estimate([a, -b]).p() == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue)


def test_an_effect_points_in_the_good_direction_and_averages_points(fake):
    records = read(fake(rows=("joint", "scratch"), points=({"encoder": "a"}, {"encoder": "b"}), seeds=(0, 1, 2)))
    what = measure(records, "asr")
    values = records.values(what)
    e = effect_over_seeds(records, {"joint": 1.0, "scratch": -1.0}, what)
    assert e.mean == pytest.approx((values.scratch - values.joint).mean())  # WER: lower is better
    each = [values.loc[point][row].var(ddof=1) / 3 / 4 for point in records.points for row in ("joint", "scratch")]
    assert e.error**2 == pytest.approx(sum(each)) and not e.paired  # four groups of three seeds


def test_rows_are_paired_where_they_start_from_one_stage_of_the_seed(fake):
    """`joint_tlm` and `joint_longer` continue the seed's `joint`; `scratch` shares nothing with them."""
    records = read(fake(rows=("scratch", "joint", "joint_longer", "joint_tlm"), seeds=(0, 1, 2, 3)))
    what = measure(records, "asr")
    values = records.values(what)
    e = delta(records, what, "joint_tlm", "joint_longer")
    by_hand = (values.joint_longer - values.joint_tlm).to_numpy()
    assert e.paired and e.error == pytest.approx(by_hand.std(ddof=1) / 2) and e.freedom == 3
    whole = {"joint_tlm": 1.0, "joint": -1.0, "scratch": 0.5}
    found = groups(records, whole, what, [""])
    assert [group.rows for group in found] == [2, 1]
    assert found[0].values == pytest.approx((values.joint - values.joint_tlm).to_numpy())
    assert found[1].values == pytest.approx(-0.5 * values.scratch.to_numpy())
    assert not effect_over_seeds(records, whole, what).paired


def test_related_over_a_third_row_is_related(fake):
    rows = ("joint_longer", "joint_tlm_stm_speech", "joint")
    records = read(fake(rows=(*rows, "scratch"), seeds=(0, 1)))
    found = groups(records, dict.fromkeys(("scratch", *rows), 1.0), measure(records, "asr"), [""])
    assert [group.rows for group in found] == [1, 3]


def test_groups_have_the_seeds_that_all_their_rows_finished(fake):
    missing = (("joint_tlm", 0, "asr"), ("scratch", 1, "asr"), ("scratch", 2, "asr"))
    records = read(fake(rows=("scratch", "joint_longer", "joint_tlm"), seeds=(0, 1, 2, 3), missing=missing))
    what = measure(records, "asr")
    assert delta(records, what, "joint_tlm", "joint_longer").n == 3
    assert delta(records, what, "joint_tlm", "scratch").n == 2  # three and two seeds
    assert delta(records, what, "joint_tlm", "joint").n == 0  # a row that is not in the sweep


def test_seeds_that_led_to_the_same_run_count_once(fake):
    folder = fake(rows=("scratch",), seeds=(0, 1, 2))
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    lines[2]["stages"] = lines[1]["stages"]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = read(folder)
    assert effect_over_seeds(records, {"scratch": 1.0}, measure(records, "asr")).n == 2


def test_variance_of_clusters_by_hand():
    """One row, two seeds, two clusters of equal weight: they add (-1, 1) to the mean, and (∓.5, ±.5) to seeds."""
    values, parts = np.array([3.0, 5.0]), np.array([[-1.5, 1.5], [-0.5, 0.5]])
    e = estimate([values], [parts], by="voices")
    between, within = (1 + 1) / 2, (4 * 0.25) / 2 / 2
    assert e.shared == pytest.approx(between - within) and e.error**2 == pytest.approx(1.75)
    assert (e.within, e.within_term, e.items_freedom) == pytest.approx((within, within**2, 1))
    assert e.over == "seeds and voices" and e.by == "voices"
    assert e.freedom == pytest.approx(1.75**2 / (1 + 1.0625))
    assert e.items[1] - e.mean == pytest.approx(12.7062, rel=1e-4)


@pytest.mark.parametrize("seeds", [3, 5, 8])
@pytest.mark.parametrize("icc", [0.0, 0.02, 0.1, 0.5, 0.9])
def test_variance_of_clusters_never_makes_surer(seeds, icc):
    world = World(seeds=seeds, clusters=12, icc=icc)
    (values,), (parts,), (effective,) = scores(world, 1, stream("surer", seeds, icc))
    e, both = estimate(list(values)), estimate(list(values), list(parts), effective)
    assert both.half >= e.half * (1 - 1e-9) and detectable(both) >= detectable(e) * (1 - 1e-9)
    assert both.of_seeds.half == pytest.approx(e.half)
    for threshold in (0.0, 0.05, both.mean - 0.01, both.mean + 0.2):
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
    plan = Estimate(mean=0.0, error=spread / math.sqrt(n), freedom=n - 1, n=n)
    effect = detectable(plan)
    assert detectable(plan, level=0.05 / 9) > 1.3 * effect  # what Holm leaves to the first of nine claims
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
    estimate = Estimate(mean=mean, error=error, freedom=4, n=5)
    ps = {DIFFERENCE: adjusted, EQUIVALENCE: estimate.tail(claim.get("margin", -math.inf) - abs(mean))}
    assert decide(claim, estimate, ps)[0] == verdict


def test_an_equivalence_says_its_margin_and_what_was_corrected_for():
    estimate = Estimate(mean=0.1, error=0.1, freedom=4, n=5)
    ps = {DIFFERENCE: 0.9, EQUIVALENCE: 0.04}
    verdict, reason = decide({"above": 0, "margin": 0.4}, estimate, ps, claims=2, declared=[5, 8])
    assert verdict == "equivalent" and "margin of 0.4 (two one-sided tests, corrected for 2 looks" in reason


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
    assert v.estimate.items[0] < v.estimate.mean < v.estimate.items[1] and math.isnan(v.estimate.half)


FIVE = (0, 1, 2, 3, 4)
DEAD = {"assay": "joint - joint_longer", "assay_coefficients": {"joint": 1.0, "joint_longer": -1.0}}
SENSITIVE = {"assay": "speech_only - scratch", "assay_coefficients": {"speech_only": 1.0, "scratch": -1.0}}  # 12 points


def test_no_assay_when_nothing_is_found_and_the_task_cannot_show_it(fake):
    nothing = claim("joint_longer", "joint_tlm_unpaired", above=0)
    assert claims_of(fake, nothing | DEAD, seeds=FIVE).verdict == "no assay"
    assert claims_of(fake, nothing | SENSITIVE, seeds=FIVE).verdict == "undecided"


def test_a_clear_effect_is_its_own_assay(fake):
    assert claims_of(fake, claim("speech_only", "scratch", above=0) | DEAD, seeds=FIVE).verdict == "supported"
    assert claims_of(fake, claim("scratch", "speech_only", above=0) | DEAD, seeds=FIVE).verdict == "refuted"


def test_equivalent_takes_a_margin_of_half_the_assay(fake):
    def judged(margin, assay):
        nothing = claim("joint_longer", "joint_tlm_unpaired", within=margin)
        return claims_of(fake, nothing | assay, seeds=FIVE, size=2000, noise=0.1)

    assert judged(4.0, SENSITIVE).verdict == "equivalent" and judged(4.0, DEAD).verdict == "no assay"
    wide = judged(8.0, SENSITIVE)
    assert wide.verdict == "undecided" and "a margin of 8 is more than half of that" in wide.reason


def test_effects_are_in_points_and_say_which_side_is_good(fake):
    helps = measured(claims_of(fake, claim("speech_only", "scratch", above=0), seeds=FIVE))
    assert re.match(r"effect \+\d+\.\d\d points of WER, better, 95 %", helps)
    assert "over seeds and items, n = 5" in helps
    pair = measured(claims_of(fake, claim("joint_tlm", "joint_longer", above=0), seeds=FIVE))
    assert "over seeds and items, paired, n = 5" in pair
    harms = measured(claims_of(fake, claim("scratch", "joint", "translation.bleu", above=0), seeds=FIVE))
    assert re.match(r"effect −\d+\.\d\d BLEU, worse, 95 %", harms)
    nothing = claim("joint", "scratch", "sentiment.accuracy", above=0) | {"coefficients": {"joint": -1e-9}}
    assert measured(claims_of(fake, nothing, seeds=FIVE)).startswith("effect 0.00 points of accuracy, 95 %")


def test_there_is_no_verdict_before_the_last_seed(fake):
    options = {"missing": (("scratch", 4, "asr"),), "seeds": (0, 1, 2, 3, 4)}
    v = claims_of(fake, claim("speech_only", "scratch", above=0), **options)
    assert v.verdict == "undecided" and math.isnan(v.p) and v.estimate.low > 0
    assert v.reason.startswith("so far 4 of 5 seeds are finished; the verdict is taken at 5")


def test_a_claim_on_unfinished_rows_is_undecided(fake):
    v = claims_of(fake, claim("speech_only", "scratch", above=0), missing=(("scratch", None, "asr"),), seeds=(0, 1))
    assert (v.verdict, v.reason) == ("undecided", "nothing to compare yet")
