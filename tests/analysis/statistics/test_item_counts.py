"""Metrics from per-item counts, and what clusters of test items contribute to them."""

import json
import math
import warnings

import numpy as np
import pytest

from analysis.records import items
from analysis.records.frame import measure, read
from analysis.statistics.compare import effect_with_items


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


def test_contributions_by_hand():
    """WER 40 % of 4 + 6 words, 50 and 25 % without either: -10 and 15, less their mean."""
    made = items.read_counts([wer(1, 0, 0, 4, "a"), wer(0, 2, 1, 6, "b")], "wer").parts()
    assert made.level == pytest.approx(40.0) and made.by == "items"
    assert made.parts == pytest.approx([-12.5, 12.5]) and made.effective == pytest.approx(100 / (16 + 36))


def test_the_jackknife_of_a_mean_is_its_standard_error():
    right = [1, 0, 0, 1, 1]
    parts = items.read_counts([{"id": k, "correct": x} for k, x in enumerate(right)], "accuracy").parts().parts
    assert 4 / 5 * float(parts @ parts) == pytest.approx(100**2 * np.var(right, ddof=1) / 5, rel=1e-5)


def test_clusters_are_summed_and_named():
    lines = [wer(1, 0, 0, 4, "a"), wer(0, 2, 1, 6, "b"), wer(0, 0, 0, 10, "c")]
    voices = [line | {"cluster": {"voice": voice}} for line, voice in zip(lines, "mfm")]
    counts = items.read_counts(voices, "wer")
    assert counts.ids == ["m", "f"] and counts.parts().by == "voices"
    assert counts.parts().parts == pytest.approx(np.array([-0.5, 0.5]) * (30 + 20 - 100 / 14))
    assert counts.parts().effective == pytest.approx(1 / (0.7**2 + 0.3**2))
    assert items.read_counts([voices[0], *lines[1:]], "wer").parts().by == "items"  # one line does not say
    assert items.read_counts([x | {"cluster": {"voice": "m"}} for x in lines], "wer").parts().by == "items"


def test_of_several_clusterings_the_one_with_the_fewest_clusters_is_taken():
    """Whatever the scores: one of a single cluster, and one that has every item by itself, are none."""
    named = {"speaker": "abab", "document": "xyzx", "session": "1111", "id": "1234"}
    lines = [wer(1, 0, 0, 4, n) | {"cluster": {by: of[n] for by, of in named.items()}} for n in range(4)]
    assert items.read_counts(lines, "wer").parts().by == "speakers"
    of = ("document", "session", "id")
    fewer = [line | {"cluster": {by: line["cluster"][by] for by in of}} for line in lines]
    counts = items.read_counts(fewer, "wer")
    assert counts.parts().by == "documents" and counts.ids == ["x", "y", "z"]
    equal = [line | {"cluster": {"template": "aabb"[n], "relation": "abab"[n]}} for n, line in enumerate(lines)]
    assert items.read_counts(equal, "wer").parts().by == "templates"
    alone = [line | {"cluster": {"session": "1", "id": str(n)}} for n, line in enumerate(lines)]
    assert items.read_counts(alone, "wer").parts().by == "items"


def test_clusters_with_errors_in_common_make_the_error_of_a_score_larger():
    """By hand, of six answers in three relations. All alike (correlation 1): shares 1, 0 and 0 of three clusters, of
    variance 1/9, where six items would have 2/45. None alike: nothing varies between clusters.
    """

    def variance(correct, clusters):
        lines = [{"id": n, "correct": x, "cluster": {"relation": c}} for n, (x, c) in enumerate(zip(correct, clusters))]
        parts = items.read_counts(lines, "accuracy").parts()
        return (len(parts.parts) - 1) / len(parts.parts) * float(parts.parts @ parts.parts) / 100**2

    assert variance([1, 1, 0, 0, 0, 0], "aabbcc") == pytest.approx(1 / 9)
    assert variance([1, 1, 0, 0, 0, 0], "abcdef") == pytest.approx(2 / 45)
    assert variance([1, 0, 1, 0, 1, 0], "aabbcc") == pytest.approx(0)


def test_a_score_made_before_clusters_had_names_takes_those_of_another(fake):
    """Also where the index has it by items already."""
    folder = fake(tasks=("sentence_pair",), seeds=(0, 1), claims={})
    what = measure(read(folder), "sentence_pair.accuracy")
    weights, records = {"joint": 1.0, "scratch": -1.0}, read(folder)
    before = effect_with_items(records, weights, what)
    records.index.write({key[0] for key in records.index.entries})
    assert before.by == "items" and (folder / "index.npz").exists()
    path = records.files("score", next(iter(records.finished(what)["joint", "", 1][0]))) / "items.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    named = [line | {"cluster": {"relation": str(n % 5)}} for n, line in enumerate(lines)]
    path.write_text("".join(json.dumps(line) + "\n" for line in named))
    result = records.path("score", next(iter(records.finished(what)["joint", "", 1][0]))) / "result.json"
    result.write_text(result.read_text() + "\n")  # another result: another digest
    after = effect_with_items(read(folder), weights, what)
    assert after.by == "relations" and after.mean == before.mean and after.items_freedom < 5
    (folder / "index.npz").unlink()
    assert effect_with_items(read(folder), weights, what) == after


@pytest.mark.parametrize("metric", ["bleu", "f1", "matthews", "pearson"])
def test_the_jackknife_is_near_the_bootstrap(metric):
    rng = np.random.default_rng(4)
    size, draws = 300, 2000
    if metric == "bleu":
        lines = [
            {"matches": [int(rng.binomial(n, 0.6)) for n in (10, 9, 8, 7)], "totals": [10, 9, 8, 7]}
            | {"sys_len": 10, "ref_len": int(rng.integers(8, 13))}
            for _ in range(size)
        ]
    elif metric == "pearson":
        pairs = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size)
        lines = [{"moments": [x, y, x * x, y * y, x * y]} for x, y in pairs]
    else:
        lines = [{"hits": np.eye(4)[rng.choice(4, p=[0.4, 0.15, 0.1, 0.35])].tolist()} for _ in range(size)]
    counts = items.read_counts([{"id": str(k)} | line for k, line in enumerate(lines)], metric)
    drawn = counts.value(rng.multinomial(size, np.full(size, 1 / size), draws).astype(float))
    parts = counts.parts().parts.astype(float)
    assert parts.sum() == pytest.approx(0, abs=1e-4)
    assert math.sqrt((size - 1) / size * parts @ parts) == pytest.approx(drawn.std(ddof=1), rel=0.1)


def test_an_empty_reference_contributes_its_insertions():
    made = items.read_counts([wer(0, 0, 2, 0, "silent"), wer(1, 0, 0, 10, "b"), wer(1, 0, 0, 10, "c")], "wer").parts()
    assert made.level == pytest.approx(20.0) and made.parts[0] > 5  # without it: 10 %


def test_counts_that_do_not_give_the_score_are_not_used(fake):
    folder = fake(rows=("joint", "speech_only"), tasks=("asr",))
    records = read(folder)
    run = records.files("score", records.of(measure(records, "asr")).run.iloc[0])
    text = (run / "items.jsonl").read_text()
    (run / "items.jsonl").write_text(text.replace('"words": 10', '"words": 20'))
    effect = {"joint": 1.0, "speech_only": -1.0}
    found = effect_with_items(read(folder), effect, measure(records, "asr"))
    assert found.n == 1 and math.isnan(found.items[0])


def test_ratio_of_sums_under_the_metrics_own_name():
    lines = [{"id": id, "loss_drop": sums} for id, sums in {"a": [1.5, 3], "b": [0.5, 1], "c": [-1.0, 4]}.items()]
    assert whole(lines, "loss_drop") == pytest.approx(1 / 8)
    assert items.read_counts(lines, "loss_drop").value(np.array([[2.0, 1.0, 0.0]]))[0] == pytest.approx(3.5 / 7)
    assert items.read_counts([{"id": "a", "loss_drop": 0.5}], "loss_drop") is None


def test_a_point_of_the_axes_has_items_of_its_own(fake):
    records = read(fake(rows=("joint",), tasks=("asr",), points=({"encoder": "nano"}, {"encoder": "small"}), size=400))
    what = measure(records, "asr")
    values = records.values(what).joint
    found = [effect_with_items(records, {"joint": 1.0}, what, [point]) for point in records.points]
    assert [-each.mean for each in found] == pytest.approx([values[point, 0] for point in records.points])
    assert all(each.items[0] < each.mean < each.items[1] for each in found)
    both = effect_with_items(records, {"joint": 1.0}, what)
    assert -both.mean == pytest.approx(values.mean()) and both.items[1] - both.items[0] < np.diff(found[0].items)[0]
