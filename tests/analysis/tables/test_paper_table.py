"""The table: marks, statuses, blocks, and each of its printed forms."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from planted import results

from ablate.errors import UserError
from analysis.records.frame import read
from analysis.statistics.compare import estimate, holm
from analysis.table import build, why
from analysis.tables import baselines, formats, paper

SMALL = {
    "rows": ("text_only", "speech_only", "joint"),
    "tasks": ("asr", "sentiment"),
    "noise": 0.0,
    "table": {},
    "claims": {},
}
GOLDEN = """\
block,row,point,task,split,metric,unit,better,status,seeds_done,seeds,mean,low,high,delta,delta_low,delta_high,mark,processors,runs
joint,speech_only,,asr,test,wer,%,lower,done,2,2,36.7500,27.2203,46.2797,2.5000,-31.3772,36.3772,best,,RUN RUN
joint,speech_only,,asr,test_unseen,wer,%,lower,done,2,2,49.2500,33.3672,65.1328,7.0000,-33.0925,47.0925,best,,RUN RUN
joint,joint,,asr,test,wer,%,lower,done,2,2,39.2500,-2.0452,80.5452,,,,best,,RUN RUN
joint,joint,,asr,test_unseen,wer,%,lower,done,2,2,56.2500,2.2486,110.2514,,,,best,,RUN RUN
baseline,empty output,,asr,test,wer,%,lower,done,,,100.0000,,,,,,,,
baseline,empty output,,asr,test_unseen,wer,%,lower,done,,,100.0000,,,,,,,,
"""


def table_of(fake, **options):
    return build(read(fake(**options)))


def cell(table, row, task, split="test"):
    line = next(line for line in table.lines if line.row == row)
    k = next(k for k, c in enumerate(table.columns) if (c.measure.task, c.measure.split) == (task, split))
    return line.cells[k], table.columns[k]


WER = {"speech_only": (30.0, 31.0, 32.0), "joint": (31.5, 30.5, 33.0), "joint_placebo": (50.0, 51.0, 52.0)}
RIGHT = {"text_only": (71.0, 72.0, 73.0), "joint": (70.0, 71.5, 72.5), "joint_placebo": (40.0, 41.0, 42.0)}


@pytest.fixture
def planted(fake):
    """Two rows that are nearly alike in each column, and one that is far worse."""
    rows = ("text_only", "speech_only", "joint", "joint_placebo")

    def write(**options):
        folder = fake(**SMALL | {"rows": rows, "seeds": (0, 1, 2)} | options)

        def change(result, seed, row):
            for score in result["scores"]:
                score["value"] = (WER if score["metric"] == "wer" else RIGHT)[row][seed]

        results(folder, change)
        return build(read(folder))

    return write


def marks(table, task):
    return {line.row for line in table.lines if cell(table, line.row, task)[0].mark == "best"}


def test_bold_are_the_best_and_all_that_cannot_be_told_from_it(planted):
    table = planted()
    assert marks(table, "asr") == {"speech_only", "joint"}  # fewer errors
    assert marks(table, "sentiment") == {"text_only", "joint"}  # more right
    assert "Bold: cannot be told from the best of its column" in table.caption and "Here nothing" not in table.caption
    text = formats.md(table)
    assert "| **31.7 ± 3.1** |" in text and "| 51.0 ± 2.5 |" in text and "<ins>" not in text
    assert r"\textbf{31.7" in formats.tex(table) and '<td class="best">31.7' in formats.html(table)
    assert {x["row"] for x in csv.DictReader(io.StringIO(formats.csv(table))) if x["mark"]} == {*WER, *RIGHT} - {
        "joint_placebo"
    }


def test_if_nothing_can_be_told_from_the_best_all_are_bold_and_the_caption_says_so(planted):
    table = planted(rows=("speech_only", "joint"), tasks=("asr",))
    assert marks(table, "asr") == {"speech_only", "joint"}
    assert "Here nothing can: every such cell is bold." in table.caption
    assert marks(planted(rows=("joint",), tasks=("asr",), name="b"), "asr") == set()  # nothing to be told from
    table = planted(missing=(("speech_only", 2, "asr"),), name="c")
    assert marks(table, "asr") == {"joint"}  # rows that lack a seed are not marked


def test_points_of_the_axes_are_told_apart_too(fake):
    points = ({"encoder": "nano"}, {"encoder": "small"})
    folder = fake(**SMALL | {"rows": ("joint",), "seeds": (0, 1, 2), "points": points, "tasks": ("asr",)})
    records = read(folder)
    first = {line["stages"]["score"]["asr"]["test"] for line in records.manifest if line["point"] == points[0]}

    def change(result, seed, row):
        for score in result["scores"]:
            score["value"] = WER["joint"][seed]

    results(folder, change)
    for run in first:
        path = records.path("score", run) / "result.json"
        path.write_text(path.read_text().replace('"value": 3', '"value": 9'))
    table = build(read(folder))
    assert [line.cells[0].mark for line in table.lines] == ["", "best"]


def test_impossible_missing_and_partial_are_told_apart(fake):
    options = {"seeds": (0, 1, 2), "missing": (("joint", None, "asr"), ("speech_only", 2, "asr"))}
    table = table_of(fake, **options)
    cells = {row: cell(table, row, "asr") for row in ("text_only", "joint", "speech_only")}
    shown = {row: own.display(column) for row, (own, column) in cells.items()}
    assert shown["text_only"] == "n/a" and shown["joint"] == "—"
    assert shown["speech_only"].endswith("(2/3)") and "±" in shown["speech_only"]
    assert cell(table, "speech_only", "asr")[0].mark == ""  # partial cells are not ranked
    assert "not finished" in table.caption
    lines = csv.DictReader(io.StringIO(formats.csv(table)))
    statuses = {line["row"]: line["status"] for line in lines if line["task"] == "asr"}
    assert (statuses["text_only"], statuses["joint"], statuses["speech_only"]) == ("n/a", "missing", "partial")


def test_one_seed_says_so_and_shows_no_interval(fake):
    table = table_of(fake)
    text = formats.md(table)
    assert "One seed: no interval" in text and "±" not in text and "Δ" not in text


def test_several_seeds_show_interval_and_differences(fake):
    table = table_of(fake, seeds=(0, 1, 2))
    text = formats.md(table)
    assert "±" in text and "Δ against joint (" in text and "Δ against joint longer (" in text


def test_blocks_keep_row_order_and_collect_the_rest(fake):
    table = table_of(fake)
    assert [block.reference for block in table.blocks] == ["joint", "joint_longer", None]
    assert [line.row for line in table.blocks[2].lines] == ["joint_tlm_stm_speech", "joint_tlm_stm_longer"]
    assert table.blocks[1].title == "Two stages" and "*Two stages*" in formats.md(table)


def test_columns_default_to_first_metrics_on_every_split_and_can_be_named(fake):
    assert [c.name for c in table_of(fake, **SMALL).columns] == [
        "asr.test.wer",
        "asr.test_unseen.wer",
        "sentiment.test.accuracy",
    ]
    named = {**SMALL, "table": {"columns": ["sentiment.accuracy", "asr.test_unseen.wer"]}}
    assert [c.name for c in table_of(fake, **named).columns] == ["sentiment.test.accuracy", "asr.test_unseen.wer"]


def test_unknown_block_row_names_the_nearest(fake):
    with pytest.raises(UserError, match="did you mean 'joint'"):
        table_of(fake, table={"blocks": [{"reference": "joit", "rows": []}]})


def test_strongest_baseline_by_direction(fake):
    table = table_of(fake)
    assert cell(table, "joint", "sentence_pair")[1].baseline == ("word overlap", 73.0)
    assert cell(table, "joint", "asr")[1].baseline == ("empty output", 100.0)
    assert "[1] empty output" in formats.notes(table)


def test_csv_is_byte_for_byte(fake):
    options = {
        "rows": ("speech_only", "joint"),
        "tasks": ("asr",),
        "noise": 0.0,
        "size": 20,
        "seeds": (0, 1),
        "claims": {},
    }
    folder = fake(**options, table={"blocks": [{"reference": "joint"}]})
    text = formats.csv(build(read(folder)))
    # By hand: joint 36.0 and 42.5, speech_only 36.0 and 37.5; the delta is 2.5 +- t(1.106) √11.125.
    assert re.sub(r"[0-9a-f]{16}", "RUN", text) == GOLDEN
    assert text == formats.csv(build(read(folder)))


def test_latex_is_balanced_and_escaped(fake):
    text = formats.tex(table_of(fake, seeds=(0, 1)))
    assert text.count("{") == text.count("}") and text.count(r"\begin{") == text.count(r"\end{")
    body = re.sub(r"\\multicolumn\{\d+\}", r"\\multicolumn", text).split(r"\toprule")[1].split(r"\bottomrule")[0]
    width = 8  # columns and the label
    for line in body.splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == width - 1, line
    assert not re.search(r"(?<!\\)[%#](?! \\use)", text.replace("% \\use", ""))
    assert "_" not in re.sub(r"\\_|\\label\{[^}]*\}", "", text)
    assert text.isascii()
    assert formats.latex("a_b & 5% {x} [y]") == r"a\_b \& 5\% \{x\} [y]"
    assert formats.latex("[1] x") == "{[1] x}"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here")
def test_pdflatex_sets_it_within_the_page(fake, tmp_path):
    table = build(read(fake(seeds=(0, 1, 2))))
    (tmp_path / "table.tex").write_text(formats.joined(table, "tex", [baselines.sheet(table), paper.sheet(table)]))
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "page.tex").write_text(head + r"\input{table.tex}\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout and (tmp_path / "page.pdf").stat().st_size


def test_terminal_never_cuts_a_number(fake):
    table = table_of(fake, seeds=(0, 1, 2))
    for width in (60, 200):
        text = formats.terminal(table, width)
        assert "…" not in text and text.count("Δ against joint (") >= 1
        for line in table.lines:
            for shown, column in zip(line.cells, table.columns):
                assert shown.display(column) in text


def test_why_traces_a_cell(fake):
    table = table_of(fake, seeds=(0, 1), missing=(("joint_tlm", 1, "asr"),))
    text = why(table, "joint_tlm", "asr")
    shown, _ = cell(table, "joint_tlm", "asr")
    assert all(run in text for run in shown.runs.values())
    assert "objectives.tlm: weight 1.0" in text and "commit a1b2c3d4e5f6" in text and "seed 1: done" not in text
    with pytest.raises(UserError, match="did you mean 'joint_tlm'"):
        why(table, "joint_tml", "asr")


def test_why_tells_what_an_encoder_cannot_do_from_what_nobody_asked_for(fake):
    folder = fake(rows=("text_only", "joint"), tasks=("asr", "sentiment"), table={}, claims={})
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    del lines[1]["stages"]["score"]["sentiment"]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    table = build(read(folder))
    assert "n/a   the encoder does not read speech" in why(table, "text_only", "asr")
    assert "n/a   the sweep file leaves this task out for the row" in why(table, "joint", "sentiment")


def test_mixed_code_versions_are_said(fake):
    folder = fake(**SMALL)
    path = next((folder.parents[1] / "score").rglob("result.json"))
    path.write_text(path.read_text().replace("a1b2c3d4e5f6", "ffffffffffff"))
    assert "2 code versions" in build(read(folder)).caption


def test_command_line(fake):
    folder = fake(**SMALL)
    place = Path(__file__).resolve().parents[3]

    def run(*arguments):
        command = [sys.executable, "-m", "analysis.table", *arguments]
        return subprocess.run(command, cwd=place, capture_output=True, text=True)

    assert run(str(folder), "--format", "csv").stdout.startswith("block,row")
    assert run("objectives", "--root", str(folder.parents[1]), "--format", "md").returncode == 0
    wrong = run(str(folder), "--why", "joint", "asd")
    assert wrong.returncode == 2 and "did you mean 'asr'" in wrong.stderr and "Traceback" not in wrong.stderr


def test_empty_outputs_early_stops_and_data_left_out_are_noted_below_the_table(fake):
    folder = fake(**SMALL)
    before = build(read(folder)).caption
    assert (
        "empty" not in before
        and "stopped early" not in before
        and "Not pre-trained on" not in before
        and "Skipped" not in before
    )

    def silence(result, seed, row):
        if row == "joint" and "wer" in {score["metric"] for score in result["scores"]}:
            result["empty"] = result["scores"][0]["n"]

    results(folder, silence)
    for path in (folder.parents[1] / "finetune").rglob("result.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "stopped_early": 60}))
    lost = {"pair": {"hours": 9.0, "left_out": {"over longest_pair (16 s)": {"items": 90, "share": 0.102}}}}
    for path in (folder.parents[1] / "pretrain").rglob("result.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "supply": lost}))
    line = json.loads((folder / "manifest.jsonl").read_text().splitlines()[-1])
    table = folder.parents[1] / "table" / (id := line["stages"]["tables"]["asr.train"])[:2] / id
    table.mkdir(parents=True)
    (table / "result.json").write_text(json.dumps({"format": 2, "rows": 8, "skipped": ["a.wav: is empty.", "b: too."]}))
    caption = build(read(folder)).caption
    assert "Skipped, because they cannot be used (result.json says why): 2 rows of asr.train." in caption
    assert "Not pre-trained on: 10.2% of the hours of pair (90 items over longest_pair (16 s)): " in caption
    assert "Every output is empty: asr of joint." in caption
    run = next(iter(line["stages"]["score"]["asr"].values()))
    path = folder.parents[1] / "score" / run[:2] / run / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "empty": 0}))
    assert re.search(r"Every output is empty: asr of joint \(in \d of \d scores\)\.", build(read(folder)).caption)
    assert re.search(r"(\d+) of \1 fine-tunings stopped early, because dev had stopped improving\.", caption)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize("rows", [3, 10])
def test_a_row_that_is_as_good_as_the_best_is_rarely_left_out(seeds, rows):
    """What `_marked` does, with equal rows: any one of them is the truly best."""
    rng, left_out, draws = np.random.default_rng(rows), 0, 1000
    for _ in range(draws):
        values = rng.normal(size=(rows, seeds))
        best = values.mean(axis=1).argmax()
        p = holm({k: estimate([values[best], -values[k]]).p() for k in range(rows) if k != best})
        left_out += p.get(0, 1.0) < 0.05
    assert left_out / draws < 0.04  # 0.025, and three standard errors
