"""One seed says so: no marks, no verdicts, no signs, and how far chance alone moves a score where other seeds tell."""

import csv
import io
import json
import math

import pytest
from planted import results
from scipy.stats import t

from analysis.records.frame import measure, read
from analysis.statistics.compare import Estimate
from analysis.table import build, why
from analysis.tables import baselines, formats, paper, ruler

WER = {"scratch": (50.0, 52.0, 54.0), "speech_only": (40.0, 46.0, 43.0), "joint": (44.0, 0.0, 0.0)}
SWEEP = {"rows": tuple(WER), "tasks": ("asr",), "claims": {}, "table": {"columns": ["asr.test.wer"]}}


def planted(fake, **options):
    folder = fake(**SWEEP | options)

    def change(result, seed, row):
        for score in result["scores"]:
            score["value"] = WER[row][seed]

    results(folder, change)
    return folder


def test_the_ruler_is_pooled_within_rows_of_several_seeds(fake):
    """Squares of 8 and 18 about two means, of four degrees of freedom."""
    records = read(planted(fake, seeds=(0, 1, 2), missing=(("joint", 1, None), ("joint", 2, None))))
    made = ruler.ruler(records, measure(records, "asr.test.wer"))
    assert (made.freedom, made.rows, made.source) == (4, 2, ruler.SEEDS)
    assert made.sd == pytest.approx(math.sqrt(26 / 4))
    assert made.apart == pytest.approx(t.ppf(0.975, 4) * math.sqrt(2) * math.sqrt(26 / 4))  # 10.01
    text = formats.md(build(records))
    assert "By chance alone two scores of one row differ by less than this in 19 of 20: asr WER 10.0 points" in text
    assert "(from other seeds of 2 rows)." in text


def test_without_other_seeds_fine_tunings_of_a_leaf_are_the_ruler_of_their_mean(fake):
    """The same squares, now within two leaves of three fine-tunings each; a score is the mean of three."""
    folder = planted(fake, seeds=(0, 1, 2), rows=("scratch", "speech_only"))
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    first = [line for line in lines if line["seed"] == 0]
    for line in first:
        others = [x["stages"] for x in lines if x["row"] == line["row"] and x["seed"]]
        line["stages"]["draws"] = [{key: stages[key] for key in ("finetune", "score")} for stages in others]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in first))
    sweep = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps(sweep | {"seeds": [0]}))
    records = read(folder)
    made = ruler.ruler(records, measure(records, "asr.test.wer"))
    assert (made.freedom, made.rows, made.source) == (4, 2, ruler.TUNINGS)
    assert made.sd == pytest.approx(math.sqrt(26 / 4 / 3))
    caption = build(records).caption
    assert "asr WER 5.8 points (from several fine-tunings of a leaf, so without the chance of pre-training" in caption


def test_without_another_seed_nothing_tells_how_much_is_chance(fake):
    for seeds, missing in (((0,), ()), ((0, 1), ((None, 1, None),))):
        records = read(planted(fake, seeds=seeds, missing=missing, name=f"of_{len(seeds)}"))
        assert ruler.ruler(records, measure(records, "asr.test.wer")) is None
        caption = build(records).caption
        said = "Cells of one seed have no interval" if missing else "One seed: no interval"
        assert f"{said}; nothing tells how much is chance (run seeds=[0,1,2] or " in caption


def test_seeds_of_one_run_are_no_ruler_and_count_once(fake):
    folder = planted(fake, seeds=(0, 1, 2))
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        if line["row"] == "scratch" and line["seed"] == 2:
            line["stages"] = next(x["stages"] for x in lines if x["row"] == "scratch" and x["seed"] == 1)
        if line["row"] == "joint":
            line["stages"] = next(x["stages"] for x in lines if x["row"] == "joint" and x["seed"] == 0)
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    records = read(folder)
    made = ruler.ruler(records, measure(records, "asr.test.wer"))
    assert made.sd == pytest.approx(math.sqrt((2 + 18) / 3)) and made.freedom == 3
    table = build(records)
    cells = {line.row: line.cells[0] for line in table.lines}
    assert (cells["scratch"].estimate.mean, cells["scratch"].n, cells["scratch"].done) == (51.0, 2, 3)
    assert cells["scratch"].complete and cells["joint"].n == 1 and cells["joint"].mark == ""
    assert "Seeds that led to the very same run count once: scratch (asr), joint (asr)." in table.caption
    assert "/3)" not in formats.md(table)  # all of them are finished


def test_one_seed_has_no_mark_and_no_verdict_and_no_sign_in_any_format(fake):
    table = build(read(fake()))
    for form, mark in (("md", "**"), ("tex", r"\textbf"), ("html", 'class="best"')):
        text = getattr(formats, form)(table)
        assert mark not in text and "†" not in text and "dagger" not in text
        assert "One seed: no interval; nothing tells how much is chance" in text
    assert not any(line["mark"] for line in csv.DictReader(io.StringIO(formats.csv(table))))
    assert {clearance.verdict for clearance in baselines.clearances(table)} == {"one seed"}
    assert {line[-1] for line in baselines.sheet(table).lines} == {"—"}  # rows that clear
    assert {line[4] for line in paper.sheet(table).lines} == {"SLAM", "one seed"}
    assert "(one seed: no interval)" in why(table, "joint_tlm", "asr")


def test_a_difference_with_one_seed_of_a_row_has_no_sign_beside_the_paper():
    column = type("Column", (), {"text": lambda self, value, signed=False: f"{value:+}"})()
    assert paper._ours(column, Estimate(mean=2.0, n=1)) == "one seed"
    assert paper._ours(column, Estimate(mean=2.0, n=0)) == paper._ours(column, None) == "—"
    assert paper._ours(column, Estimate(mean=2.0, error=1.0, freedom=1, n=2)).startswith("+2.0 ± ")
