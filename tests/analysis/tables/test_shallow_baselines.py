"""Whether the best row of a column clears the strongest shallow baseline."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from planted import results
from scipy.stats import binom

from analysis.records.frame import read
from analysis.statistics.compare import effect_with_items
from analysis.table import build
from analysis.tables import baselines, formats

SMALL = {"rows": ("speech_only", "joint"), "tasks": ("asr",), "table": {}, "claims": {}, "size": 400}
TEXT = SMALL | {"rows": ("text_only",), "tasks": ("sentiment",)}


def set_baselines(folder, *values):
    def change(result, seed, row):
        result["baselines"] = [
            {"split": s["split"], "metric": s["metric"], "name": f"rule {k}", "value": value}
            for s in result["scores"]
            for k, value in enumerate(values)
        ]

    results(folder, change)


def add_metric(folder, name, value, unit="", better="higher"):
    """Add a metric without counts per item; `value(seed, row)`."""

    def change(result, seed, row):
        result["scores"].append(
            {
                "split": "test",
                "metric": name,
                "value": value(seed, row),
                "unit": unit,
                "better": better,
                "n": 1,
                "signature": "planted",
            }
        )

    results(folder, change)


def first(folder):
    return baselines.clearances(build(read(folder)))[0]


def test_the_interval_over_items_is_the_binomial_one(fake):
    clearance = first(fake(**TEXT))
    share = clearance.best.cell.estimate.mean / 100
    expected = [100 * binom.ppf(q, 400, share) / 400 for q in (0.025, 0.975)]
    assert [clearance.best.low, clearance.best.high] == pytest.approx(expected, abs=0.6)
    assert (clearance.best.over, clearance.verdict) == ("items", "one seed")  # it speaks of one checkpoint


def test_several_seeds_are_judged_over_seeds_and_items(fake):
    """The interval is that of the row's mean, as for claims; it points the way of the metric."""
    for options, column in ((TEXT, "sentiment"), (SMALL, "asr")):
        folder = fake(**options, seeds=(0, 1, 2), name=column)
        records = read(folder)
        clearance = first(folder)
        best, what = clearance.best, clearance.column.measure
        e = effect_with_items(records, {best.line.row: 1.0}, what)
        assert (best.high - best.low) / 2 == pytest.approx(e.half) and best.over == "seeds and items"
        assert (best.low + best.high) / 2 == pytest.approx(best.cell.estimate.mean) and clearance.verdict == "clears"
        assert e.half >= best.cell.estimate.half  # never narrower than over seeds


@pytest.mark.parametrize("task, edge, good", [("asr", "high", +1), ("sentiment", "low", -1)])
def test_a_baseline_just_inside_or_outside_the_interval(fake, task, edge, good):
    options = SMALL if task == "asr" else TEXT
    folder = fake(**options, seeds=(0, 1, 2))
    bound = getattr(first(folder).best, edge)
    set_baselines(folder, bound + 0.01 * good, bound + 20 * good)  # the second is weaker
    assert first(folder).verdict == "clears"
    set_baselines(folder, bound - 0.01 * good, bound + 20 * good)
    clearance = first(folder)
    assert clearance.verdict == "does not clear" and clearance.column.baseline[0] == "rule 0"
    assert "does not clear" in formats.joined(build(read(folder)), "md", [baselines.sheet(build(read(folder)))])


def test_every_row_is_asked_and_the_few_that_fail_are_named(fake):
    folder = fake(**SMALL, seeds=(0, 1, 2, 3, 4))
    table = build(read(folder))
    speech, joint = (line.cells[0].estimate.mean for line in table.lines)
    assert speech < first(folder).best.high < joint
    set_baselines(folder, joint)
    clearance = first(folder)
    assert clearance.best.line.row == "speech_only" and [line.row for line in clearance.short] == ["joint"]
    sheet = baselines.sheet(build(read(folder)))
    assert sheet.lines[0][-1] == "1 of 2 (not: joint)"
    assert sheet.csv().splitlines()[1].endswith(",clears,1,2,joint")
    set_baselines(folder, 0.0)
    assert (
        baselines.sheet(build(read(folder))).lines[0][-1] == "0 of 2 (not: speech only; joint)"
    )  # labels may have commas


def test_only_rows_with_all_their_seeds_are_ranked(fake):
    options = SMALL | {"seeds": (0, 1)}
    clearance = first(fake(**options, missing=(("speech_only", 1, "asr"),)))
    assert clearance.best.line.row == "joint" and clearance.rows == 1
    clearance = first(fake(**options | {"name": "none"}, missing=((None, 1, "asr"),)))
    assert clearance.best is None and clearance.verdict == "not finished"
    assert baselines.sheet(build(read(fake(**options | {"name": "nothing"}, missing=((None, None, None),))))) is None


def test_without_counts_per_item_the_interval_is_over_seeds(fake):
    folder = fake(**SMALL | {"rows": ("joint",), "seeds": (0, 1, 2)})
    add_metric(folder, "perplexity", lambda seed, row: [20.0, 22.0, 24.0][seed])
    set_baselines(folder, 17.0)
    sweep = json.loads((folder / "sweep.json").read_text()) | {"table": {"columns": ["asr.test.perplexity"]}}
    (folder / "sweep.json").write_text(json.dumps(sweep))
    clearance = first(folder)  # 22 ± 4.3027 · 2 / √3
    assert (clearance.best.low, clearance.best.high) == pytest.approx((17.0317, 26.9683), abs=1e-3)
    assert clearance.best.over == "seeds" and clearance.verdict == "clears"
    set_baselines(folder, 17.1)
    assert first(folder).verdict == "does not clear"


def test_one_seed_without_items_has_no_interval_and_no_verdict(fake):
    folder = fake(**SMALL | {"rows": ("joint",)})
    for path in (folder.parents[1] / "score").rglob("items.jsonl"):
        path.unlink()
    sheet = baselines.sheet(build(read(folder)))
    assert sheet.lines[0][3:5] == ["—", "—"] and sheet.lines[0][6:] == ["one seed", "—"]


def test_seeds_that_all_gave_the_same_have_no_verdict(fake):
    folder = fake(**SMALL | {"rows": ("joint",), "seeds": (0, 1)})
    add_metric(folder, "perplexity", lambda seed, row: 20.0)
    set_baselines(folder, 17.0)
    sweep = json.loads((folder / "sweep.json").read_text()) | {"table": {"columns": ["asr.test.perplexity"]}}
    (folder / "sweep.json").write_text(json.dumps(sweep))
    assert first(folder).verdict == "seeds are equal"


def test_measures_of_any_size_and_without_a_baseline_or_a_direction(fake):
    folder = fake(**SMALL | {"seeds": (0, 1, 2)})
    add_metric(folder, "phone_nmi", lambda seed, row: 0.031 + seed / 1000)
    add_metric(folder, "loss_drop", lambda seed, row: 0.42 + seed / 100, unit="nats")
    add_metric(folder, "perplexity", lambda seed, row: 310.0 + seed, better="")
    columns = ["asr.test.phone_nmi", "asr.test.loss_drop", "asr.test.perplexity", "asr.test.wer"]
    sweep = json.loads((folder / "sweep.json").read_text()) | {"table": {"columns": columns}}
    (folder / "sweep.json").write_text(json.dumps(sweep))
    table = build(read(folder))
    titles = [column.title for column in table.columns]
    assert titles == ["phone NMI ↑", "loss drop (nats) ↑", "perplexity", "WER (%) ↓"]
    cells = [cell.display(column).split(" ±")[0] for cell, column in zip(table.lines[0].cells, table.columns)]
    assert cells[:3] == ["0.0320", "0.430", "311.0"]
    assert [cell.mark for cell in table.lines[0].cells][:3] == ["best", "best", ""]  # equal, and no direction
    lines = baselines.sheet(table).lines
    assert [line[6] for line in lines] == ["no baseline"] * 3 + ["clears"]
    assert lines[2][1] == "—"  # without a direction no row is the best


def test_a_copied_folder_is_enough_and_torch_is_not_needed(fake, tmp_path):
    folder = fake(**SMALL, missing=(("joint", 0, "asr"),))
    copy = Path(shutil.copytree(folder.parents[1], tmp_path / "elsewhere")) / "sweeps" / folder.name
    shutil.rmtree(folder.parents[1])
    program = "import sys, runpy; sys.modules['torch'] = None; runpy.run_module('analysis.table', run_name='__main__')"
    for form in ("terminal", "md", "tex", "csv"):
        command = [sys.executable, "-W", "ignore", "-c", program, str(copy), "--format", form]
        done = subprocess.run(command, cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert ("rows that clear" in done.stdout) == (form != "csv")


def test_latex_has_a_second_table(fake):
    table = build(read(fake(**SMALL)))
    text = formats.joined(table, "tex", [baselines.sheet(table)])
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert text.isascii() and text.count("{") == text.count("}")
    assert r"95 \% interval" in text
