"""Several fine-tunings of a leaf: their mean is its score, and the spread has components."""

import json
import math

import numpy as np
import pytest

from analysis import table
from analysis.records import manifest
from analysis.records.frame import measure, read
from analysis.statistics.advice import ways
from analysis.statistics.compare import effect_over_seeds, effect_with_items, groups
from analysis.statistics.components import of_effect
from analysis.tables import advice, spread

ROWS = ("scratch", "joint")
ALONE = {"claims": {}, "table": {"blocks": [{"reference": "joint", "rows": [*ROWS]}]}}


def nested(fake, seeds=(0, 1, 2), draws=3, **more):
    return read(fake(rows=ROWS, tasks=("asr", "retrieval"), seeds=seeds, draws=draws, tuning=4.0, **ALONE, **more))


def drawn(records, row, seed):
    """The values of one leaf's fine-tunings, from its results themselves."""
    (line,) = (one for one in records.manifest if one["row"] == row and one["seed"] == seed)
    results = [records.results("score", run) for run in manifest.draws(line, "asr", "test")]
    return [result["scores"][0]["value"] for result in results if result]


def test_a_leafs_score_is_the_mean_over_its_fine_tunings(fake):
    records = nested(fake)
    what = measure(records, "asr")
    leaves = np.array([[drawn(records, row, seed) for seed in (0, 1, 2)] for row in ROWS])
    assert leaves.shape == (2, 3, 3) and np.unique(leaves).size > 12
    means = leaves.mean(axis=2)
    assert records.values(what)["joint"].to_numpy() == pytest.approx(means[1])
    effect = effect_over_seeds(records, {"joint": 1.0, "scratch": -1.0}, what)
    assert effect.mean == pytest.approx(means[0].mean() - means[1].mean()) and effect.n == 3
    assert effect.error**2 == pytest.approx(means.var(axis=1, ddof=1).sum() / 3)  # leaves count, not fine-tunings
    assert records.scoring == (2 * 3 * (3 * 2 + 1), 2 * 3 * (3 * 2 + 1))  # asr on two splits, retrieval on one


def test_what_items_contribute_is_the_mean_over_fine_tunings(fake):
    records = nested(fake)
    what = measure(records, "asr")
    (group,) = groups(records, {"joint": 2.0}, what, [""])
    assert [set(of.values()) for of in group.runs] == [{-2 / 3}] * 3  # WER: lower is better
    both = effect_with_items(records, {"joint": 1.0, "scratch": -1.0}, what)
    assert both.over == "seeds and items" and both.items[1] > both.items[0]


def test_a_leaf_that_lacks_a_fine_tuning_has_the_mean_of_the_others(fake):
    folder = fake(rows=ROWS, tasks=("asr",), seeds=(0, 1), draws=2, tuning=4.0, **ALONE)
    first = read(folder)
    what = measure(first, "asr")
    (line,) = (one for one in first.manifest if one["row"] == "joint" and one["seed"] == 0)
    gone, stays = manifest.draws(line, "asr", "test")
    (first.path("score", gone) / "result.json").unlink()
    records = read(folder)
    value = records.results("score", stays)["scores"][0]["value"]
    assert records.finished(what)["joint", "", 0] == ({stays: value}, value)
    assert "1 of 16 scoring runs" in table.build(records).caption


def test_components_by_hand(fake):
    """Two leaves, fine-tuned twice: 10, 14 and 20, 22. Within: (8 + 2) / 2 = 5; between means 12 and 21: 40.5."""
    records = read(planted(fake, {("joint", 0): (10.0, 14.0), ("joint", 1): (20.0, 22.0)}))
    parts = of_effect(records, {"joint": 1.0}, measure(records, "asr"))
    assert parts.finetuning == pytest.approx(5) and parts.pretraining == pytest.approx(40.5 - 5 / 2)
    assert parts.tuned() == pytest.approx(2.5) and parts.tuned(2) == pytest.approx(1.25)
    assert of_effect(records, {"joint": -3.0}, measure(records, "asr")).finetuning == pytest.approx(45)


def test_one_fine_tuning_cannot_tell_the_two_apart(fake):
    records = nested(fake, draws=1)
    parts = of_effect(records, {"joint": 1.0}, measure(records, "asr"))
    assert math.isnan(parts.finetuning)
    assert parts.pretraining == pytest.approx(records.values(measure(records, "asr"))["joint"].var(ddof=1))
    lines = {line[0]: line[1:] for line in spread.sheet(table.build(records)).lines}
    assert "(both)" in lines["asr WER"][0] and lines["asr WER"][1] == "—"
    assert "(both)" not in lines["retrieval recall@1"][0]  # which has no fine-tuning


def test_one_seed_with_fine_tunings_knows_their_spread_alone(fake):
    records = nested(fake, seeds=(0,))
    parts = of_effect(records, {"joint": 1.0}, measure(records, "asr"))
    assert math.isnan(parts.pretraining) and parts.finetuning == pytest.approx(
        np.var(drawn(records, "joint", 0), ddof=1)
    )


def test_one_seed_fine_tuned_once_has_no_sheet(fake):
    assert spread.sheet(table.build(nested(fake, seeds=(0,), draws=1))) is None
    assert [line[0] for line in spread.sheet(table.build(nested(fake, seeds=(0,)))).lines] == [
        "asr WER",
        "asr WER unseen",
    ]


def test_clusters_add_to_what_items_give(fake):
    """Ten voices of six items; errors are a voice's own, so that 60 items are worth ten."""
    folder = fake(rows=("joint",), tasks=("asr",), seeds=(0, 1), claims={})
    records = read(folder)
    for drawn, _ in records.finished(measure(records, "asr")).values():
        for run in drawn:
            path = records.files("score", run) / "items.jsonl"
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            for number, line in enumerate(lines):
                line |= {"substitutions": number % 10, "deletions": 0, "insertions": 0, "words": 10}
                line["cluster"] = {"voice": f"m{number % 10}"}
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            result = json.loads((records.path("score", run) / "result.json").read_text())
            result["scores"][0]["value"] = 45.0
            (records.path("score", run) / "result.json").write_text(json.dumps(result))
    records = read(folder)
    parts = of_effect(records, {"joint": 1.0}, measure(records, "asr"))
    variance = np.var(10.0 * np.arange(10))  # of an item's errors in percent
    assert parts.by == "voices" and parts.items == pytest.approx(variance / 59, rel=1e-3)
    assert parts.items + parts.clusters == pytest.approx(variance / 9, rel=1e-3)


def test_why_names_the_components_and_every_fine_tuning(fake):
    records = nested(fake, seeds=(0, 1))
    said = table.why(table.build(records), "joint", "asr.test.wer")
    assert "standard deviations of one score: pre-training" in said and "fine-tuning" in said
    for value in drawn(records, "joint", 1):
        assert f"{round(value, 10):g}"[:6] in said
    assert "the mean of" in said


CLAIM = {"effect": "joint - scratch", "on": "asr.wer", "above": 0, "coefficients": {"joint": 1.0, "scratch": -1.0}}


def test_advice_reads_variances_and_times_alone(fake):
    """A constant that is added to every score of a row changes its effects, and nothing of the advice."""
    folder = fake(rows=ROWS, tasks=("asr",), seeds=(0, 1, 2), draws=2, tuning=6.0, claims={"pays": CLAIM}, size=200)
    before = advice.sheet(read(folder)).values
    records = read(folder)
    for (row, _, _), (drawn, _) in records.finished(measure(records, "asr")).items():
        for run in drawn:
            if row == "joint":
                path = records.files("score", run) / "items.jsonl"
                lines = [json.loads(line) for line in path.read_text().splitlines()]
                count = sum(line["words"] for line in lines)
                for line in lines:
                    line["insertions"] += line["words"]  # + 100 points
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
                result = json.loads((records.path("score", run) / "result.json").read_text())
                result["scores"][0]["value"] += 100.0
                (records.path("score", run) / "result.json").write_text(json.dumps(result))
                assert count
    assert [line[:4] for line in advice.sheet(read(folder)).values] == [line[:4] for line in before]
    for now, old in zip(advice.sheet(read(folder)).values, before, strict=True):
        assert now[4:] == pytest.approx(old[4:], rel=1e-3)


def test_advice_by_hand(fake):
    """Fine-tuning is nearly all of the spread: an hour of it tells more than an hour of seeds, which cost as much."""
    folder = fake(
        rows=ROWS, tasks=("asr",), seeds=(0, 1, 2, 3), draws=2, tuning=12.0, noise=0.0, claims={"pays": CLAIM}
    )
    records = read(folder)
    now, found = ways(records, CLAIM["coefficients"], measure(records, "asr"), 3600.0, 0.05)
    seeds, tuned = (next(way for way in found if way.name == name) for name in ("seeds", "fine-tunings"))
    runs = {run for line in records.manifest for run in manifest.every_score(line, "asr")}
    work = sum(records.results("score", run)["seconds"] for run in runs)  # the fine-tunings here took no time
    assert seeds.seconds == pytest.approx(seeds.more * work / 4)
    assert tuned.seconds == pytest.approx(tuned.more * work / 2)
    assert seeds.detectable < now and tuned.detectable < now


def planted(fake, values):
    """A sweep whose leaves (row, seed) have these values of their fine-tunings on asr."""
    rows = tuple(dict.fromkeys(row for row, _ in values))
    seeds = tuple(dict.fromkeys(seed for _, seed in values))
    folder = fake(rows=rows, tasks=("asr",), seeds=seeds, draws=len(next(iter(values.values()))), claims={})
    records = read(folder)
    for (row, _, seed), (found, _) in records.finished(measure(records, "asr")).items():
        for run, value in zip(found, values[row, seed], strict=True):
            path = records.path("score", run) / "result.json"
            result = json.loads(path.read_text())
            result["scores"][0]["value"] = value
            path.write_text(json.dumps(result))
    return folder
