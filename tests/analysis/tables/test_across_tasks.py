"""Across tasks: each number by hand, which tasks and rows are compared, and when there is an interval."""

import csv
import io

import numpy as np
import pytest
from planted import results
from scipy.stats import norm, rankdata, trim_mean

from analysis.records.frame import Measure, read
from analysis.table import build
from analysis.tables import across

ROWS = ("scratch", "joint", "joint_tlm")
SWEEP = {"rows": ROWS, "tasks": ("asr", "sentiment"), "claims": {}, "table": {"compare_with": "scratch"}}
VALUES = {  # task -> row -> by seed; the baselines are 100 % of errors and 50 % right
    "asr": {"scratch": (60.0, 50.0), "joint": (40.0, 30.0), "joint_tlm": (50.0, 50.0)},
    "sentiment": {"scratch": (60.0, 70.0), "joint": (60.0, 70.0), "joint_tlm": (90.0, 85.0)},
}
VALUES |= {"retrieval": VALUES["sentiment"], "normalization": VALUES["asr"]}


def planted(fake, **options):
    folder = fake(**SWEEP | {"seeds": (0, 1)} | options)

    def change(result, seed, row):
        for score in result["scores"]:
            score["value"] = VALUES[result["task"]][row][seed % 2]
        for baseline in result["baselines"]:
            baseline["value"] = 50.0 if result["task"] == "sentiment" else 100.0

    results(folder, change)
    return folder


def sheet_of(folder):
    return across.sheet(build(read(folder)))


def test_the_three_numbers_by_hand(fake):
    """Normalised: scratch .4 .5 .2 .4, joint .6 .7 .2 .4, joint_tlm .5 .5 .8 .7; the least and the most are left out.

    joint against scratch: in recognition it wins 4 of 4 pairs, in sentiment 1 and 2 ties. joint_tlm: in recognition 2
    and 2 ties, in sentiment all. Ranks in recognition are 3, 1, 2, in sentiment 2½, 2½, 1.
    """
    sheet = sheet_of(planted(fake))
    assert sheet.heads == ["", "interquartile mean", "P(better than scratch)", "average rank"]
    assert sheet.lines == [
        ["scratch", "0.400", "ref.", "2.8"],
        ["joint", "0.500", "0.75", "1.8"],
        ["joint tlm", "0.600", "0.88", "1.5"],
    ]
    assert "Tasks: asr WER, sentiment acc." in sheet.note
    assert "Descriptive: 2 seeds, and over fewer than 8 a bootstrap covers too little" in sheet.note
    (joint,) = (line for line in csv.DictReader(io.StringIO(sheet.csv())) if line["row"] == "joint")
    assert (joint["iqm"], joint["improvement"], joint["rank"]) == ("0.5000", "0.7500", "1.7500")
    assert joint["iqm_low"] == joint["improvement_low"] == "" and (joint["tasks"], joint["ranked"]) == ("2", "3")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 30])
def test_the_interquartile_mean_is_scipys_trimmed_mean(count):
    scores = np.random.default_rng(count).normal(size=(5, count))
    assert across.interquartile_mean(scores) == pytest.approx(trim_mean(scores, 0.25, axis=1))


def test_improvement_and_ranks_agree_with_slow_ones():
    rng = np.random.default_rng(3)
    own, other = rng.integers(4, size=(3, 2)).astype(float), rng.integers(4, size=(5, 2)).astype(float)
    slow = [[[(x > y) + (x == y) / 2 for x, y in zip(a, b)] for b in other] for a in own]
    assert across.improvement(own, other) == pytest.approx(np.mean(slow, axis=-1))
    assert across.improvement(own, other).mean() + across.improvement(other, own).mean() == pytest.approx(1)
    means = rng.integers(3, size=(6, 4)).astype(float)
    assert across.average_ranks(means) == pytest.approx(rankdata(-means, axis=0).mean(axis=1))


def test_tasks_and_rows_fill_the_largest_rectangle_and_the_rest_is_named(fake):
    sheet = sheet_of(fake(missing=(("joint_tlm", 0, "retrieval"),), table={}))
    assert [line[0] for line in sheet.lines][:3] == ["scratch", "joint contrastive", "joint"]
    note = sheet.note
    assert "They lack a task: text only; speech contrastive; speech only. Not finished: joint tlm." in note
    assert "Descriptive: one seed" in note and "Left out" not in note
    rows = ("text_only", "speech_contrastive", "speech_only", "joint")
    note = sheet_of(fake(name="b", rows=rows, table={}, tasks=("asr", "translation", "sentiment"))).note
    assert "Tasks: asr WER, translation BLEU." in note  # two of three rows, not three of one
    assert "Left out: sentiment (too few rows have it)." in note and "They lack a task: text only." in note


def test_what_cannot_be_normalised_is_left_out_by_name(fake):
    folder = planted(fake, tasks=("asr", "sentiment", "retrieval", "normalization"), name="c")

    def change(result, seed, row):
        if result["task"] == "retrieval":
            result["scores"][0]["unit"] = "nats"
        if result["task"] == "normalization":
            result["baselines"] = []

    results(folder, change)
    note = sheet_of(folder).note
    assert "Left out: retrieval (what is perfect is not known); normalization (no baseline)." in note
    assert sheet_of(fake(rows=ROWS, tasks=("asr",), table={}, name="d")) is None  # one task is not several


def test_the_first_column_of_a_task_in_the_table_stands_for_it(fake):
    columns = ["sentiment.accuracy", "asr.test_unseen.wer", "asr.test.wer"]
    note = sheet_of(fake(rows=ROWS, table={"columns": columns}, claims={})).note
    assert note.startswith("Tasks: sentiment acc., asr WER unseen. Scores") and "Left out" not in note


def test_a_perfect_score_is_known_by_unit_and_direction():
    def perfect(metric, better, unit="%"):
        return across.perfect(Measure(task="t", split="test", metric=metric, better=better, unit=unit))

    assert perfect("wer", "lower") == 0 and perfect("accuracy", "higher") == perfect("bleu", "higher", "") == 100
    assert perfect("loss", "lower", "nats") is perfect("cka", "higher", "") is perfect("", "") is None


def test_eight_seeds_have_intervals_and_each_block_its_reference(fake):
    blocks = [{"reference": "joint", "rows": ["scratch", "joint"]}, {"reference": "scratch", "rows": ["joint_tlm"]}]
    folder = fake(rows=ROWS, tasks=("asr", "sentiment"), claims={}, seeds=tuple(range(8)), table={"blocks": blocks})
    sheet = sheet_of(folder)
    assert "Descriptive" not in sheet.note and "2,000 bootstrap draws" in sheet.note
    assert [line[2] for line in sheet.lines] == ["joint", "—", "scratch"] and sheet.lines[1][3] == "ref."
    for line in csv.DictReader(io.StringIO(sheet.csv())):
        assert float(line["iqm_low"]) < float(line["iqm"]) < float(line["iqm_high"])
        if line["improvement"]:
            low, value, high = (float(line[f"improvement{end}"]) for end in ("_low", "", "_high"))
            assert 0 <= low <= value <= high <= 1
    assert sheet.lines == sheet_of(folder).lines  # the draws are the same each time


def test_the_interval_of_a_mean_is_as_wide_as_students():
    """Draws of the mean of eight have 7/8 of the squared standard error."""
    draws = norm.ppf((np.arange(200_000) + 0.5) / 200_000) * np.sqrt(7 / 8)
    low, high = across.spread(draws, 8)
    assert (low, high) == pytest.approx((-2.3646, 2.3646), abs=2e-3)
    assert np.isnan(across.spread(np.ones(10), 8)).all()


@pytest.mark.slow
def test_intervals_cover_over_eight_seeds_that_share_their_pre_training():
    rng, levels = np.random.default_rng(5), np.linspace(0.1, 0.6, 5)

    def scores(seeds):
        return levels + 0.04 * rng.normal(size=(seeds, 1)) + 0.05 * rng.normal(size=(seeds, 5))

    true = across.interquartile_mean(scores(400_000).ravel())
    covered = []
    for number in range(600):
        _, low, high = across.row_mean((f"row {number}", ""), scores(8))
        covered.append(low <= true <= high)
    assert 0.92 < np.mean(covered) < 0.985
