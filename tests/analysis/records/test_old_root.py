"""A root that commit e7f69db made, on the built-in corpus at nano size: reported for ever with the numbers of that
commit, but for differences between rows: their intervals follow today's rules.
"""

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import report, tensorboard
from analysis.figures.curves import finetuning_curves, pretraining_curves
from analysis.figures.losses import held_out
from analysis.records.frame import measure, read
from analysis.records.scores import DONE
from analysis.table import build, why
from analysis.tables import formats

OLD = Path(__file__).resolve().parents[2] / "data" / "root-e7f69db"


@pytest.fixture
def root(tmp_path):
    """A copy, as reports write into the sweep's folder."""
    return shutil.copytree(OLD, tmp_path / "old")


def same(text: str) -> bool:
    """Whether a table is that of the old commit, but for intervals of differences, and marks."""
    kept = []
    for table in (text, (OLD / "sweeps" / "old" / "table.csv").read_text()):
        lines = list(csv.DictReader(io.StringIO(table)))
        assert all((line.pop("delta_low") == "") == (line.pop("delta_high") == "") for line in lines)
        assert {line.pop("processors", "") for line in lines} == {""} and all("mark" in line for line in lines)
        lines = [{key: value for key, value in line.items() if key != "mark"} for line in lines]
        kept.append(lines)
    return kept[0] == kept[1] and len(kept[0]) > 5


def test_its_table_is_what_it_was(root):
    records = read("old", root)
    assert (records.scores.status == DONE).all() and set(records.scores.row) == {"scratch", "joint", "joint_tlm"}
    assert list(records.scores[records.scores.task == "asr"].split.unique()) == ["test", "test_unseen"]
    assert same(formats.csv(build(records)))


def test_its_report_is_made_by_the_command(root):
    command = [sys.executable, "-m", "analysis.report", "old", "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=OLD.parents[2])
    assert done.stdout.splitlines()[-1] == str(root / "sweeps" / "old" / "report.html")
    assert same((root / "sweeps" / "old" / "table.csv").read_text())
    text = (root / "sweeps" / "old" / "report.html").read_text()
    for expected in (
        "joint helps",
        "Pre-training",
        "Fine-tuning",
        "Sample predictions",
        "retrieval",
        "<dd>44 of 44 finished",
    ):
        assert expected in text
    assert ">Failures<" not in text


def test_curves_losses_and_cells_are_traced(root):
    records = read(root / "sweeps" / "old")
    curves = pretraining_curves(records)
    assert set(curves.row) == {"joint", "joint_tlm"} and any(metric.startswith("tlm/") for metric in curves.metric)
    assert set(finetuning_curves(records).task) == {"asr", "sentiment"}
    losses = held_out(records)
    assert set(losses.loss) == {"masked_text"} and set(losses.row) == set(records.rows) and (losses.value > 0).all()
    line = next(line for line in records.manifest if (line["row"], line["seed"]) == ("joint", 1))
    run = line["stages"]["score"]["asr"]
    text = why(build(records), "joint", "asr.test_unseen.wer")
    assert f"score/{run[:2]}/{run}" in text and ", commit " in text
    assert measure(records, "asr").split == "test"


def test_its_events_are_written(root):
    pytest.importorskip("tensorboard")
    names = {
        path.parent.relative_to(root / "sweeps" / "old" / "tensorboard").as_posix()
        for path in tensorboard.write("old", root)
    }
    assert {
        "joint/seed_0/trunk",
        "joint/seed_0/leaf",
        "joint_tlm/seed_1/trunk_2",
        "scratch/seed_0/finetune_asr",
        "scratch/seed_1",
    } <= names


def test_it_notes_no_machine(root):
    assert "processor" not in build(read("old", root)).caption


def test_a_report_again_makes_nothing_anew(root):
    made = report.write("old", root)
    before = {path: path.stat().st_mtime_ns for path in made["table"]}
    assert report.write("old", root) == made
    assert {path: path.stat().st_mtime_ns for path in before} == before
