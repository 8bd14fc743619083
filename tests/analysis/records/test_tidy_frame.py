"""Records become tidy frames: nothing is filled in, everything the sweep asks for has a line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ablate.errors import UserError
from analysis.figures.curves import finetuning_curves, pretraining_curves
from analysis.records.frame import measure, read
from analysis.records.scores import DONE, IMPOSSIBLE, MISSING, _has_no


def status(records, row, task, seed=0):
    s = records.scores
    return list(s[(s.row == row) & (s.task == task) & (s.seed == seed)].status)


def test_one_line_per_cell_with_three_kinds_of_status(fake):
    records = read(fake(missing=(("joint", None, "asr"),)))
    assert status(records, "joint", "asr") == [MISSING] * 2  # both splits, known from other rows
    assert status(records, "text_only", "asr") == [IMPOSSIBLE] * 2
    assert status(records, "joint", "translation") == [DONE]
    assert not records.scores.duplicated(["row", "point", "seed", "task", "split", "metric"]).any()
    assert len(records.scores) == 14 * (5 + 2)
    assert records.scores[records.scores.status != DONE].value.isna().all()


def test_a_sweep_where_nothing_is_finished_still_has_all_its_cells(fake):
    records = read(fake(missing=((None, None, None),)))
    assert set(records.scores.status) == {MISSING, IMPOSSIBLE}
    assert records.baselines.empty


def test_a_stage_that_never_started_is_missing(fake):
    folder = fake()
    records = read(folder)
    run = records.scores[records.scores.run != ""].run.iloc[0]
    shutil.rmtree(records.path("score", run))
    again = read(folder).scores
    assert (again[again.run == run].status == MISSING).all()


def test_name_and_folder_read_the_same(fake):
    folder = fake()
    by_name = read("objectives", folder.parents[1])
    assert by_name.scores.equals(read(folder).scores)
    with pytest.raises(FileNotFoundError, match="did you mean 'objectives'"):
        read("objective", folder.parents[1])
    (folder / "sweep.json").unlink()
    with pytest.raises(FileNotFoundError, match="the plan, which a copy needs, too"):
        read(folder)


def test_parameters_leave_embeddings_out(fake):
    records = read(fake(rows=("joint",)))
    s = records.scores.set_index("task")
    assert s.loc["sentiment", "parameters"] == 20_000 + 1_000 + 60_000
    assert s.loc["sentiment", "active"] == 1_000 + 60_000
    assert s.loc["translation", "active"] == 20_000 + 60_000


def test_baselines_are_there_once(fake):
    b = read(fake(seeds=(0, 1))).baselines
    assert len(b[(b.task == "sentence_pair")]) == 2
    assert float(b[(b.name == "x") | (b["name"] == "word overlap")].value.iloc[0]) == 73.0


def test_curves_follow_the_chain_of_trunks(fake):
    records = read(fake(rows=("joint", "joint_tlm"), tasks=("asr",)))
    curves = pretraining_curves(records)
    own = curves[(curves.row == "joint_tlm") & (curves.metric == "masked_text/loss")]
    assert own.stage.nunique() == 3  # joint's trunk, its own, its leaf
    assert own.step.is_monotonic_increasing and own.step.max() == 8800
    tuned = finetuning_curves(records)
    assert set(tuned.task) == {"asr"} and "dev/wer" in set(tuned.metric)


def test_unfinished_last_lines_and_text_in_metrics_are_left_out(fake):
    folder = fake(rows=("joint",), tasks=("asr",))
    leaf = json.loads((folder / "manifest.jsonl").read_text())["stages"]["leaf"]
    file = read(folder).files("pretrain", leaf) / "metrics.jsonl"
    file.write_text('{"step": 10, "loss": 2.5, "note": "x", "flag": true}\n{"step": 20, "lo')
    curves = pretraining_curves(read(folder))
    assert curves[curves.stage == leaf][["step", "metric", "value"]].values.tolist() == [[10, "loss", 2.5]]


def test_measures_have_defaults_and_name_the_nearest(fake):
    records = read(fake())
    assert measure(records, "asr").split == "test" and measure(records, "asr").metric == "wer"
    assert measure(records, "asr.test_unseen.wer").split == "test_unseen"
    assert measure(records, "asr.wer", "test_unseen").sign == -1.0
    for name, expected in (("asd", "asr"), ("asr.wr", "wer"), ("asr.tests.wer", "test")):
        with pytest.raises(UserError, match=f"did you mean '{expected}'"):
            measure(records, name)


def test_difference_names_what_differs(fake):
    records = read(fake())
    assert records.difference("joint_tlm", "joint_longer") == {"objectives.tlm": "weight 1.0 (reference: absent)"}
    assert records.difference("joint_placebo", "joint") == {"objectives.masked_text.text": "drawn (reference: true)"}
    assert records.difference("joint", "joint") == {}


def test_values_are_the_mean_of_nothing_else(fake):
    records = read(fake(seeds=(0, 1, 2)))
    values = records.values(measure(records, "asr"))
    assert values.shape == (3, 13) and not np.isnan(values.to_numpy()).any()


def test_analysis_imports_no_torch():
    modules = "analysis.report, analysis.figures.capacity, analysis.figures.curves"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[3])


def test_a_score_of_recordings_alone_is_impossible_where_a_finished_one_has_none():
    """An axis of data.normalisation: rows that are not normalised by speaker have no such score, and lack none."""
    done = {"scores": [{"split": "test", "metric": "wer"}, {"split": "test", "metric": "cer"}]}
    assert _has_no(done, "test", "wer_alone") and not _has_no(None, "test", "wer_alone")
    assert not _has_no(done, "test", "cer") and not _has_no(done, "dev", "wer_alone")
