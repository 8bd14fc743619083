"""Metrics from per-item counts, and resampling of test items."""

import math
import warnings

import numpy as np
import pytest

from analysis.records import items
from analysis.records.frame import measure, read


def wer(sub, dele, ins, words, id="a"):
    return {"id": id, "substitutions": sub, "deletions": dele, "insertions": ins, "words": words}


def whole(lines, metric):
    counts = items.read_counts(lines, metric)
    return float(counts.value(np.ones((1, len(counts.ids))))[0])


def test_wer_from_counts_by_hand():
    lines = [wer(1, 0, 0, 4, "a"), wer(0, 2, 1, 6, "b")]
    assert whole(lines, "wer") == pytest.approx(40.0)
    twice_b = items.read_counts(lines, "wer").value(np.array([[0.0, 2.0]]))
    assert twice_b[0] == pytest.approx(50.0)


def test_rates_from_counts_by_hand():
    lines = [{"id": "a", "correct": 1}, {"id": "b", "correct": 0}, {"id": "c", "correct": 0}]
    assert whole(lines, "accuracy") == pytest.approx(100 / 3)
    assert whole(lines, "ser") == pytest.approx(200 / 3)
    assert whole([{"id": "a", "character_errors": 1, "characters": 8}], "cer") == pytest.approx(12.5)


def test_two_directions_of_one_sentence_are_one_item():
    lines = [{"id": "a", "rank": 1}, {"id": "a", "rank": 3}, {"id": "b", "rank": 11}, {"id": "b", "rank": 1}]
    assert items.read_counts(lines, "recall@1").ids == ["a", "b"]
    assert whole(lines, "recall@1") == 50.0 and whole(lines, "recall@10") == 75.0


def test_unknown_counts_are_none():
    assert items.read_counts([{"id": "a", "correct": 1}], "chrf") is None
    assert items.read_counts([], "wer") is None


def test_bleu_from_counts_by_hand():
    # precisions 3/4, 2/3, 1/2 and, without a match, 1/(2 * 1); length 4 against 5
    lines = [{"id": "a", "matches": [3, 2, 1, 0], "totals": [4, 3, 2, 1], "sys_len": 4, "ref_len": 5}]
    by_hand = 100 * math.exp(1 - 5 / 4) * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25
    assert whole(lines, "bleu") == pytest.approx(by_hand)
    assert whole([{**lines[0], "matches": [0] * 4}], "bleu") == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a model that writes nothing is scored without a warning
        assert whole([{**lines[0], "matches": [0] * 4, "totals": [0] * 4, "sys_len": 0}], "bleu") == 0.0


def test_bleu_equals_sacrebleu_on_random_counts():
    from sacrebleu.metrics import BLEU

    rng = np.random.default_rng(0)
    for _ in range(50):
        totals = sorted(rng.integers(1, 30, 4).tolist(), reverse=True)
        matches = [int(rng.integers(0, t + 1)) for t in totals]
        lengths = rng.integers(1, 40, 2).tolist()
        ours = items.bleu(np.array([[*lengths, *matches, *totals]], dtype=float))[0]
        theirs = BLEU.compute_bleu(matches, totals, *lengths, smooth_method="exp").score
        assert ours == pytest.approx(theirs, abs=1e-9)


def test_bootstrap_is_paired_and_matches_the_standard_error(fake):
    records = read(fake(size=400, rows=("joint", "speech_only")))
    what = measure(records, "asr")
    drawn = items.bootstrap(records, {"speech_only": 1.0, "joint": -1.0}, what, [0])
    values = records.values(what).loc[("", 0)]
    assert drawn.mean() == pytest.approx(values.joint - values.speech_only, abs=0.3)
    s = records.of(what)
    line = {row: s[s.row == row].run.iloc[0] for row in values.index}
    wrong = {
        row: np.array([x["substitutions"] for x in records.run("score", run).items() if x["split"] == "test"])
        for row, run in line.items()
    }
    expected = (wrong["joint"] - wrong["speech_only"]).std() / 10 * 100 / math.sqrt(400)
    assert drawn.std() == pytest.approx(expected, rel=0.1)


def test_a_row_against_itself_never_differs(fake):
    records = read(fake(rows=("joint",)))
    what = measure(records, "translation")
    drawn = items.bootstrap(records, {"joint": 0.0}, what, [0])
    assert np.all(drawn == 0)


def test_counts_that_do_not_give_the_score_are_not_used(fake):
    folder = fake(rows=("joint", "speech_only"), tasks=("asr",))
    records = read(folder)
    run = records.files("score", records.of(measure(records, "asr")).run.iloc[0])
    text = (run / "items.jsonl").read_text()
    (run / "items.jsonl").write_text(text.replace('"words": 10', '"words": 20'))
    effect = {"joint": 1.0, "speech_only": -1.0}
    assert items.bootstrap(read(folder), effect, measure(records, "asr"), [0]) is None


def test_ratio_of_sums_under_the_metrics_own_name():
    lines = [{"id": id, "loss_drop": sums} for id, sums in {"a": [1.5, 3], "b": [0.5, 1], "c": [-1.0, 4]}.items()]
    assert whole(lines, "loss_drop") == pytest.approx(1 / 8)
    assert items.read_counts(lines, "loss_drop").value(np.array([[2.0, 1.0, 0.0]]))[0] == pytest.approx(3.5 / 7)
    assert items.read_counts([{"id": "a", "loss_drop": 0.5}], "loss_drop") is None


def test_a_point_of_the_axes_is_resampled_alone(fake):
    records = read(fake(rows=("joint",), tasks=("asr",), points=({"encoder": "nano"}, {"encoder": "small"}), size=400))
    what = measure(records, "asr")
    values = records.values(what).joint
    means = [-items.bootstrap(records, {"joint": 1.0}, what, [0], [point]).mean() for point in records.points]
    assert means == pytest.approx([values[point, 0] for point in records.points], abs=0.2)
    assert -items.bootstrap(records, {"joint": 1.0}, what, [0]).mean() == pytest.approx(np.mean(means))
