"""Looks, families and what was declared: p-values by hand and by simulation, and every sentence of a verdict."""

import json
import math

import numpy as np
import pytest

from ablate.store import declared as stored
from analysis import report
from analysis.records import declared
from analysis.records.frame import read
from analysis.statistics import looks
from analysis.statistics.claims import log, measured, unjudged, verdicts
from analysis.statistics.compare import holm
from analysis.statistics.looks import DIFFERENCE, EQUIVALENCE

H, E = DIFFERENCE, EQUIVALENCE
NAN = math.nan


def test_weights_and_joined_p_by_hand():
    assert looks.weights([5]) == {5: 1.0} and looks.weights([5, 8]) == {5: 0.25, 8: 0.75}
    assert looks.weights([3, 5, 8]) == {3: 0.125, 5: 0.125, 8: 0.75}
    assert looks.joined({5: 0.01, 8: 0.3}, looks.weights([5, 8])) == 0.04  # .01 / .25; .3 / .75 = .4
    assert looks.joined({5: 0.2, 8: 0.03}, looks.weights([5, 8])) == pytest.approx(0.04)
    assert looks.joined({5: 0.9}, looks.weights([5, 8])) == 1.0
    assert math.isnan(looks.joined({}, {})) and math.isnan(looks.joined({5: NAN}, {5: 1.0}))
    assert looks.deciding({5: 0.01, 8: 0.3}, looks.weights([5, 8])) == 5
    assert looks.deciding({5: 0.9, 8: 0.9}, looks.weights([5, 8])) == 8 and looks.deciding({}, {}) is None
    assert looks.remaining([5, 8], 3) == pytest.approx(0.0125) and looks.remaining([5], 0) == 0.05


def test_stepdown_by_hand():
    """a's difference is found first, at a factor of 2; then b's, as a's equivalence is still open, at 2 again."""
    p = {"a": {H: 0.01, E: 0.9}, "b": {H: 0.02}}
    assert looks.stepdown(p) == {"a": {H: 0.02, E: 0.9}, "b": {H: 0.04}}
    p = {"a": {H: 0.01}, "b": {H: 0.02}}
    assert looks.stepdown(p) == {"a": {H: 0.02}, "b": {H: 0.02}}
    p = {"a": {H: 0.9, E: 0.01}, "b": {H: 0.02, E: 0.03}, "c": {H: NAN}}
    adjusted = looks.stepdown(p)  # factors 3 (a, b, c), 3, 3 (b's last), then 2 (a, c)
    assert adjusted["a"] == {E: pytest.approx(0.03), H: 1.0} and adjusted["b"][H] == pytest.approx(0.06)
    assert adjusted["b"][E] == pytest.approx(0.09) and math.isnan(adjusted["c"][H])
    assert looks.found(adjusted["a"]) == E and looks.found(adjusted["b"]) == "" == looks.found(adjusted["c"])
    assert looks.found({H: 0.01, E: 0.01}) == H  # a difference that is inside the margin is a difference


def test_without_margins_the_stepdown_is_holms():
    rng = np.random.default_rng(3)
    for _ in range(200):
        ps = {name: float(p) for name, p in enumerate(rng.choice([NAN, *rng.random(4), *rng.random(4) / 50], 5))}
        one = looks.stepdown({name: {H: p} for name, p in ps.items()})
        assert {name: of[H] for name, of in one.items()} == pytest.approx(holm(ps), nan_ok=True)


def test_a_smaller_p_adjusts_nothing_upwards():
    """So what one look rejects, a later one does not take back: joined p-values only fall."""
    rng = np.random.default_rng(4)
    for _ in range(300):
        p = {claim: {H: float(rng.random()), E: float(rng.random())} for claim in "abc"}
        less = {
            claim: {key: value * float(rng.choice([1.0, 0.3])) for key, value in of.items()} for claim, of in p.items()
        }
        before, after = looks.stepdown(p), looks.stepdown(less)
        assert all(after[claim][key] <= before[claim][key] + 1e-12 for claim in p for key in (H, E))


@pytest.mark.parametrize("truth", [(0.0, 0.0, 0.0), (1.0, 1.0, -1.0), (0.0, 1.0, 3.0)])
def test_no_family_errs_more_often_than_declared(truth):
    """Three correlated claims with a margin of 1, at looks of 5 and 8 of known variance: effects of 0 make a difference
    false, and effects of exactly the margin an equivalence.
    """
    from scipy.special import ndtr

    draws, spread = 3000, 0.9
    rng = np.random.default_rng(5)
    values = spread * (rng.normal(size=(draws, 8, 3)) + rng.normal(size=(draws, 8, 1))) + np.array(truth)
    wrong = 0
    weights = looks.weights([5, 8])
    ps = {}
    for look in (5, 8):
        error = spread * math.sqrt(2 / look)
        mean = values[:, :look].mean(axis=1)
        ps[look] = 2 * ndtr(-np.abs(mean) / error), ndtr((np.abs(mean) - 1.0) / error)
    for draw in range(draws):
        p = {
            claim: {
                key: looks.joined({n: float(of[k][draw, claim]) for n, of in ps.items()}, weights)
                for k, key in ((0, H), (1, E))
            }
            for claim in range(3)
        }
        adjusted = looks.stepdown(p)
        false = [H if value == 0 else E for value in truth]
        wrong += any(adjusted[claim][name] < 0.05 for claim, name in enumerate(false) if abs(truth[claim]) <= 1)
    assert wrong / draws < 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / draws)


def test_what_happens_after_a_look():
    assert looks.next_step(True, True, 5, [5, 8]) == looks.DECIDED
    assert looks.next_step(False, True, 5, [5, 8]) == looks.FUTILE
    assert looks.next_step(False, False, 5, [5, 8]) == looks.ON
    assert looks.next_step(False, True, 8, [5, 8]) == looks.FINISHED


# Sentences of verdicts ---------------------------------------------------------------------------------------------

FEW = {"rows": ("scratch", "joint", "speech_only"), "tasks": ("asr",), "table": {}}


def claim(a, b, **more):
    return {"effect": f"{a} - {b}", "coefficients": {a: 1.0, b: -1.0}, "on": "asr.wer", **more}


CLEAR, NONE = claim("speech_only", "scratch", above=0), claim("joint", "speech_only", above=6)
ASSAY = {"assay": "speech_only - scratch", "assay_coefficients": {"speech_only": 1.0, "scratch": -1.0}}


@pytest.fixture
def judged(fake):
    """Write a fake sweep with so many seeds and such looks, and return its verdicts by name."""

    def judge(seeds, declared=None, claims=None, **more):
        folder = fake(claims=claims or {"c": CLEAR}, seeds=tuple(range(seeds)), **FEW | more)
        if declared:
            written = json.loads((folder / "sweep.json").read_text()) | {"looks": declared}
            (folder / "sweep.json").write_text(json.dumps(written))
        return {one.name: one for one in verdicts(read(folder))}

    return judge


def test_a_look_is_taken_from_exactly_its_seeds(judged, fake):
    alone = judged(5)["c"]
    for seeds in (5, 6):
        look = judged(seeds, [5, 8])["c"]
        assert look.estimate == alone.estimate and look.verdict == "supported"
        assert look.p == pytest.approx(4 * alone.p) and "look 1 of 2" in look.reason and look.step == looks.DECIDED
    assert "6 seeds are finished; the verdict is of the first 5" in look.reason
    assert "look" not in alone.reason and alone.step == looks.DECIDED


def test_looks_are_joined_and_the_effect_is_that_of_the_last(judged):
    last, first = judged(8, [5, 8])["c"], judged(5)["c"]
    whole = judged(8)["c"]
    assert last.estimate == whole.estimate and "look 2 of 2" in last.reason
    assert last.p == pytest.approx(min(first.p / 0.25, whole.p / 0.75))


def test_before_the_first_look_there_is_no_verdict_but_a_variance(judged):
    three = judged(3, [5, 8])["c"]
    assert three.verdict == "undecided" and math.isnan(three.p) and three.seen == ()
    assert three.reason.startswith("so far 3 of 5 seeds are finished; the first of 2 looks is at 5; standard error ")
    assert measured(three) == three.reason and math.isnan(three.estimate.mean)  # neither effect nor interval


def test_between_looks_the_next_one_is_named(judged):
    six = judged(6, [5, 8], {"c": NONE | {"above": -3.5}})["c"]
    assert six.verdict == "undecided" and "look 1 of 2; 6 seeds are finished; the next look is at 8" in six.reason
    assert "8 seeds with this spread would show" in six.reason and "corrected for 2 looks" in six.reason


def test_an_undeclared_look_is_at_all_seeds(judged):
    missing = (("scratch", 1, "asr"), ("joint", 2, "asr"))
    v = judged(5, missing=missing)["c"]
    assert v.verdict == "undecided" and v.reason.startswith(
        "so far 4 of 5 seeds are finished; the verdict is taken at 5"
    )
    assert "leave a seed that cannot be finished out of seeds" in v.reason


def test_families_are_corrected_apart_and_exploratory_claims_not_counted(judged):
    other = claim("joint", "scratch", above=0)
    alone = judged(5)["c"]
    both = judged(5, claims={"c": CLEAR, "i": other | {"family": "intrinsic"}, "x": other | {"family": "exploratory"}})
    assert both["c"].adjusted == alone.adjusted and both["i"].p == both["i"].adjusted
    assert both["x"].verdict == "exploratory" and math.isnan(both["x"].p) and both["x"].estimate.half > 0
    assert "95 %" in measured(both["x"]) and "corrected p" not in measured(both["x"])
    together = judged(5, claims={"c": CLEAR, "i": claim("joint", "speech_only", above=0)})
    assert together["c"].adjusted == pytest.approx(2 * alone.adjusted)


def test_an_assay_is_asked_at_the_seeds_of_the_look(judged):
    nothing = claim("joint", "joint_longer", above=0) | ASSAY
    rows = {"rows": ("scratch", "joint", "joint_longer", "speech_only"), "noise": 0.4}
    lacking = (("scratch", 4, "asr"), ("scratch", 6, "asr"))
    v = judged(8, [5, 8], {"c": nothing}, missing=lacking, **rows)["c"]
    assert v.verdict == "undecided" and "speech_only - scratch, its assay, lacks 2 seeds" in v.reason


def test_power_is_told_at_the_level_of_the_last_look(judged):
    """Three claims at two looks: 80 % power is foretold at .05 · .75 / 3."""
    claims = {name: NONE | {"above": -3.5} for name in "abc"}
    reason = judged(5, [5, 8], claims)["a"].reason
    assert "corrected for 2 looks and 3 claims" in reason


# Logged looks ------------------------------------------------------------------------------------------------------


def test_a_look_is_logged_once_and_by_the_report(fake):
    folder = fake(claims={"c": CLEAR, "one": CLEAR}, seeds=(0, 1, 2), **FEW)
    report.write(folder)
    page = (folder / "report.html").read_bytes()
    (line,) = map(json.loads, (folder / "looks.jsonl").read_text().splitlines())
    assert line["look"] == 1 == line["of"] and line["seeds"] == [0, 1, 2] and set(line["claims"]) == {"c", "one"}
    assert line["claims"]["c"]["p"] < 0.05 and len(line["claims"]["c"]["runs"]) == 6
    report.write(folder)
    assert (folder / "looks.jsonl").read_text().count("\n") == 1 and (folder / "report.html").read_bytes() == page


def test_seeds_added_after_a_verdict_give_none(fake):
    options = {"claims": {"c": CLEAR}, **FEW}
    folder = fake(seeds=(0, 1, 2), **options)
    log(read(folder), verdicts(read(folder)))
    (five,) = verdicts(read(fake(seeds=(0, 1, 2, 3, 4), **options)))
    assert five.verdict == "undecided" and math.isnan(five.p) and five.seen == ()
    assert five.reason.startswith("seeds were added after the verdict at 3 seeds on 20")
    assert "take another name of the claim and seeds that have not run, as in seeds=[5,6,7,8,9]" in five.reason
    (three,) = verdicts(read(fake(seeds=(0, 1, 2), **options)))
    assert three.verdict == "supported"  # the verdict that was taken first stands
    (other,) = verdicts(read(fake(seeds=(0, 1, 3), **options)))
    assert "seeds were changed after the verdict at 3 seeds" in other.reason
    (apart,) = verdicts(read(fake(seeds=(5, 6, 7), **options)))
    assert "seeds were changed after the verdict at 3 seeds" in apart.reason and "keep those" in apart.reason


def test_declared_looks_are_of_the_seeds_that_were_declared(fake):
    def declare(seeds):
        folder = fake(claims={"c": CLEAR}, seeds=seeds, **FEW)
        about = json.loads((folder / "sweep.json").read_text()) | {"looks": [3, 5]}
        (folder / "sweep.json").write_text(json.dumps(about))
        return read(folder)

    log(declare((0, 1, 2)), verdicts(declare((0, 1, 2))))
    for fine in ((0, 1, 2, 3, 4), (0, 1, 2, 7, 9), (2, 1, 0), (0, 1)):
        assert "seeds were" not in verdicts(declare(fine))[0].reason
    for other in ((5, 6, 7, 8, 9), (0, 1, 3, 4, 5)):
        assert "seeds were changed after the verdict at 3 seeds" in verdicts(declare(other))[0].reason


def test_a_plain_run_says_that_a_later_look_was_taken(fake, judged):
    judged(8, [5, 8])
    folder = fake(claims={"c": CLEAR}, seeds=tuple(range(8)), **FEW)
    (folder / "sweep.json").write_text(json.dumps(json.loads((folder / "sweep.json").read_text()) | {"looks": [5, 8]}))
    log(read(folder), verdicts(read(folder)))
    assert (folder / "looks.jsonl").read_text().count("\n") == 2
    assert "a verdict with 8 seeds was taken on 20" in judged(5, [5, 8])["c"].reason


# What was declared -------------------------------------------------------------------------------------------------

BEFORE, BETWEEN, AFTER = "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"


@pytest.fixture
def dated(fake):
    """Write a fake sweep whose scores ended `BETWEEN`, and what was declared when: lines of (time, claims)."""

    def write(lines, claims=None, ended=BETWEEN, **more):
        folder = fake(claims=claims or {"c": CLEAR}, seeds=(0, 1, 2, 3, 4), **FEW | more)
        for path in (folder.parents[1] / "score").glob("*/*/result.json"):
            path.write_text(json.dumps(json.loads(path.read_text()) | {"ended": ended}))
        for time, of in lines:
            content = declared.content({"claims": of, "rows": {}})
            declared.append(folder / "claims.jsonl", {"time": time, "hash": f"hash of {len(of)}", **content})
        (v,) = [one for one in verdicts(read(folder)) if one.name == "c"]
        return v

    return write


def test_a_claim_declared_before_its_first_result_says_so(dated):
    v = dated([(BEFORE, {"c": CLEAR})])
    assert (v.verdict, v.declared) == ("supported", "declared before its first result")
    family = CLEAR | {"family": "primary"}  # the default, written out
    assert dated([], {"c": family}).declared == "declared before its first result"


def test_an_old_root_keeps_its_verdicts_and_says_that_nothing_is_recorded(dated):
    for lines in ([], [(None, {"c": CLEAR})], [(AFTER, {"c": CLEAR})]):  # then planned again: the first line counts
        v = dated(lines)
        assert (v.verdict, v.declared) == ("supported", "when it was declared is not recorded")


def test_a_claim_changed_after_its_first_result_is_exploratory(dated):
    now = CLEAR | {"above": 1}
    v = dated([(BEFORE, {"c": CLEAR}), (AFTER, {"c": now})], {"c": now})
    assert (v.verdict, v.declared) == ("exploratory", "changed since its first result (above), so exploratory")
    assert math.isnan(v.p) and v.estimate.half > 0


def test_a_claim_added_after_its_first_result_is_exploratory_and_counts_in_no_family(dated):
    other = claim("joint", "scratch", above=0)
    v = dated([(BEFORE, {"d": other}), (AFTER, {"c": CLEAR, "d": other})], {"c": CLEAR, "d": other})
    assert (v.verdict, v.declared) == ("exploratory", "added after its first result, so exploratory")


def test_a_row_that_came_later_makes_a_new_result(dated):
    """An effect is first seen when the last of its rows has a score."""
    v = dated([(AFTER, {"c": CLEAR})], ended="2026-11-04T00:00:00Z")
    assert v.declared == "declared before its first result"


def test_the_report_prints_the_hash_once(dated, fake):
    dated([(BEFORE, {"c": CLEAR})])
    said = report.summary(fake(claims={"c": CLEAR}, seeds=(0, 1, 2, 3, 4), **FEW))
    assert said.count("hash of 1, declared 2026-11-01T00:00:00Z (claims.jsonl).") == 1


def test_a_claim_that_is_dropped_or_changed_after_the_first_result_still_counts(dated, tmp_path):
    gone = claim("joint", "scratch", above=0)
    alone = dated([(BEFORE, {"c": CLEAR})])
    (tmp_path / "runs" / "sweeps" / "objectives" / "claims.jsonl").unlink()
    dropped = dated([(BEFORE, {"c": CLEAR, "gone": gone}), (AFTER, {"c": CLEAR})])
    assert dropped.adjusted == pytest.approx(2 * alone.adjusted) and dropped.verdict == "supported"
    said = report.summary(tmp_path / "runs" / "sweeps" / "objectives")
    assert "Dropped or changed after the first result, and still counted: gone." in said
    changed = dated([(AFTER, {"c": CLEAR, "gone": gone | {"above": 2}})], {"c": CLEAR, "gone": gone | {"above": 2}})
    assert changed.adjusted == dropped.adjusted
    (tmp_path / "runs" / "sweeps" / "objectives" / "claims.jsonl").unlink()
    early = dated([(BEFORE, {"c": CLEAR, "gone": gone}), (BEFORE, {"c": CLEAR})])
    assert early.adjusted == alone.adjusted
    renamed = dated([(AFTER, {"d": CLEAR})], {"c": CLEAR})
    assert renamed.declared == "declared before its first result" and renamed.adjusted == alone.adjusted


@pytest.fixture
def story(tmp_path, fake, monkeypatch):
    """Plan, run and report a sweep, a day each time: story(claims, seeds, ...) returns its verdicts by name."""
    day, ended, now = [0], {}, {"time": ""}
    folder = tmp_path / "runs" / "sweeps" / "objectives"
    for module in (stored, declared):
        monkeypatch.setattr(module, "utc", lambda: now["time"])

    def step(claims, seeds, ran=None, looks=None, settings=None, to=None, log_=True):
        day[0] += 1
        date = f"2026-11-{day[0]:02}"
        lacking = tuple((None, seed, None) for seed in seeds if ran is not None and seed not in ran)
        fake(claims=claims, seeds=tuple(seeds), missing=lacking, **FEW)
        about = json.loads((folder / "sweep.json").read_text())
        about["settings"] = {row: {"": "1", "asr": "1"} | (settings or {}).get(row, {}) for row in FEW["rows"]}
        if looks:
            about |= {"looks": looks, "look_seeds": [*seeds, *range(max(seeds) + 1, 20)][: looks[-1]]}
        (folder / "sweep.json").unlink()
        now["time"] = f"{date}T01:00:00Z"
        stored.declare(folder, about)
        (folder / "sweep.json").write_text(json.dumps(about))
        for path in (tmp_path / "runs" / "score").glob("*/*/result.json"):
            written = json.loads(path.read_text())
            path.write_text(json.dumps(written | {"ended": ended.setdefault(path, f"{date}T02:00:00Z")}))
        now["time"] = f"{date}T03:00:00Z"
        found = verdicts(read(folder))
        if log_:
            log(read(folder), found)
        return {one.name: one for one in found}

    step.notes = lambda: unjudged(read(folder), declared.lines_of(read(folder)))
    return step


BEFORE_IT = "declared before its first result"
C, OTHER = {"c": CLEAR}, {"d": claim("joint", "scratch", above=0)}
FIVE = (0, 1, 2, 3, 4)


def test_no_other_order_or_choice_of_seeds_gives_another_verdict(story):
    assert story(C, FIVE, ran=(0, 1, 2), looks=[3, 5])["c"].verdict == "supported"
    assert story(C, FIVE, looks=[3, 5])["c"].verdict == "supported"
    for seeds in (FIVE[::-1], (0, 1, 3, 2, 4), (5, 6, 7, 8, 9)):
        late = story(C, seeds, looks=[3, 5])["c"]
        assert late.verdict == "exploratory" and late.declared.startswith("changed since its first result (seeds)")
    assert story(C, FIVE, looks=[3, 5])["c"].verdict == "supported"


def test_other_seeds_without_looks_give_no_second_verdict(story):
    assert story(C, (0, 1, 2))["c"].verdict == "supported"
    for seeds in ((3, 4, 5), (0, 1, 2, 3), (0, 1), (0, 1, 3)):
        late = story(C, seeds)["c"]
        assert late.verdict == "undecided" and "after the verdict at 3 seeds" in late.late and not late.seen
    renamed = story({"e": CLEAR}, FIVE)["e"]
    assert "seeds were added after the verdict at 3 seeds" in renamed.late  # the same data under another name
    assert story(C, (2, 1, 0))["c"].verdict == "supported"


def test_a_replication_has_another_name_and_seeds_that_have_not_run(story):
    first = story(C, (0, 1, 2))["c"]
    again = story({"again": CLEAR}, (5, 6, 7))["again"]
    assert again.verdict == "supported" and again.declared == BEFORE_IT
    assert again.adjusted == pytest.approx(2 * again.p) and first.adjusted == first.p  # the first still counts


def test_rows_that_change_after_a_verdict_make_it_exploratory(story):
    story(C, FIVE)
    for part in ("", "asr"):  # pre-training, fine-tuning
        late = story(C, FIVE, settings={"scratch": {part: "2"}})["c"]
        assert (late.verdict, late.declared) == (
            "exploratory",
            "changed since its first result (rows), so exploratory",
        )
    for settings in ({"joint": {"": "2"}}, {"scratch": {"translation": "2"}}):  # not of the claim
        assert story(C, FIVE, settings=settings)["c"].verdict == "supported"


def test_rows_of_an_assay_are_rows_of_the_claim(story):
    with_assay = {"c": claim("joint", "scratch", above=0) | ASSAY}
    story(with_assay, FIVE)
    assert "(rows)" in story(with_assay, FIVE, settings={"speech_only": {"": "2"}})["c"].declared


def test_rows_that_change_before_any_result_are_a_new_experiment(story):
    story(C, FIVE, ran=())
    new = story(C, FIVE, settings={"scratch": {"": "2"}})["c"]
    assert (new.verdict, new.declared) == ("supported", BEFORE_IT)


def test_only_the_version_in_force_at_the_first_result_is_in_time(story):
    draft, ran = {"c": CLEAR | {"above": 1}}, C
    story(draft, FIVE, ran=())
    assert story(ran | OTHER, FIVE)["d"].adjusted == pytest.approx(2 * story(ran | OTHER, FIVE)["d"].p, rel=1)
    revived = story(draft | OTHER, FIVE)
    assert revived["c"].declared == "changed since its first result (above), so exploratory"
    assert revived["d"].reason == story(ran | OTHER, FIVE)["d"].reason
    back = story(ran, FIVE)["c"]
    assert back.verdict == "supported" and back.adjusted == pytest.approx(2 * back.p)  # d is dropped, and counts


def test_drafts_never_in_force_at_a_result_do_not_count(story):
    story({"c": CLEAR | {"above": 1}} | OTHER, FIVE, ran=())
    only = story(C, FIVE)["c"]
    assert only.adjusted == only.p


def test_a_claim_added_late_and_removed_again_does_not_count(story, tmp_path):
    alone = story(C, FIVE)["c"]
    assert story(C | OTHER, FIVE)["d"].verdict == "exploratory"
    now = story(C, FIVE)["c"]
    assert now.adjusted == alone.adjusted and "still counted" not in report.summary(
        tmp_path / "runs" / "sweeps" / "objectives"
    )


def test_seeds_of_a_pilot_are_not_those_of_looks_declared_after_it(story):
    story(C, (0,))
    assert story.notes() == []
    late = story(C, FIVE, ran=(0,), looks=[3, 5], log_=False)["c"]
    assert late.declared == "changed since its first result (looks), so exploratory"
    (note,) = story.notes()
    assert note.startswith("note: no verdict for c: changed since its first result (looks), so exploratory; take seeds")
    assert "as in seeds=[1,2,3,4,5], or read" in note
    fresh = story(C, (1, 2, 3, 4, 5), looks=[3, 5])["c"]
    assert (fresh.verdict, fresh.declared) == ("supported", BEFORE_IT) and story.notes() == []


def test_a_note_says_before_running_that_added_seeds_give_no_verdict(story):
    story(C, (0, 1, 2))
    story(C, (0, 1, 2, 3, 4), ran=(0, 1, 2))
    (note,) = story.notes()
    assert "no verdict for c: seeds were added after the verdict at 3 seeds" in note


def test_the_p_that_decides_is_named_and_printed_once(story):
    near = {"c": claim("speech_only", "joint", above=4, margin=9)}
    said = story(near, FIVE)["c"]
    assert said.verdict == "equivalent" and said.hypothesis == EQUIVALENCE and said.adjusted < 0.05
    assert measured(said).count("p = ") == 0 and measured(said).count("corrected p of equivalence = ") == 1
    within = story({"w": claim("speech_only", "joint", within=9)}, FIVE)["w"]
    assert within.verdict == "exploratory" and "p of" not in measured(within)
