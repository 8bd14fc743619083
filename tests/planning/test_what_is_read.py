"""Only the data that the wanted rows and tasks read must be there, and none to look at settings."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "data" / "real"))
from real_files import cache, root, tsv, utterances, world  # noqa: F401 (after the path; fixtures)

from ablate import sweep
from ablate.errors import UserError
from ablate.planning.plan import Rows, plan_file, settings_of

SWEEP = """
name: read
data:
  preset: real
  root: ???
  translation: ''
  max_seconds: 4.0
base:
  tokenizer: {size: 60}
  pretrain: {objectives: {contrastive: 1.0, masked_text: 1.0}, steps: 4, decay: 2}
  tasks: {digits: {head: classes}}
rows:
  scratch: {pretrain: {steps: 0, decay: 0}}
  joint: {}
  joint_tlm: {after: joint, pretrain: {objectives: {tlm: 1.0}}}
tasks: [digits, asr, sentiment, normalization]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "read.yaml"
    path.write_text(SWEEP)
    return path


def digits(root: Path) -> Path:  # noqa: F811 (the fixture)
    for number, split in enumerate(("train", "dev", "test"), 40):
        utterances(root, split, number, "ONE", "TWO")
        (root / "common_voice_digits/en/clips").mkdir(parents=True, exist_ok=True)
        for n in range(2):
            clip = f"LibriSpeech/{split}/{number}/1/{number}-1-000{n}.flac"
            shutil.move(root / clip, root / f"common_voice_digits/en/clips/{split}{n}.flac")
        rows = [f"{split}\t{split}{n}.flac\t{word}" for n, word in enumerate(("one", "two"))]
        tsv(root / f"common_voice_digits/en/{split}.tsv", "client_id\tpath\tsentence", *rows)
        shutil.rmtree(root / "LibriSpeech" / split)
    return root


def test_one_task_alone_needs_its_own_files_alone(tmp_path: Path, file: Path) -> None:
    alone = digits(tmp_path / "alone")
    plan = plan_file(file, [f"data.root={alone}", "tasks=[digits]"], rows=Rows(only=["scratch"]))
    assert {line["row"] for line in plan.manifest} == {"scratch"} and list(plan.rows) == [
        "scratch",
        "joint",
        "joint_tlm",
    ]
    assert {stage.title for stage in plan.stages.values() if stage.kind == "table"} == {
        "digits.train",
        "digits.dev",
        "digits.test",
    }
    assert "Not planned, as data that they read are missing: joint, joint_tlm." in plan.notes
    named = r"data.root '.*alone' lacks .*data.speech, data.pairs, data.asr \(LibriSpeech/train-clean\).*data.text \("
    for only in ((), ("joint",), ("scratch", "joint_tlm")):
        with pytest.raises(UserError, match=named) as error:
            plan_file(file, [f"data.root={alone}", "tasks=[digits]"], rows=Rows(only=only))
        assert "glue" not in str(error.value) and "normalization" not in str(error.value)
    with pytest.raises(UserError, match=r"lacks .*data.sentiment \(glue/SST-2/train.tsv\)"):  # whose tokens need texts
        plan_file(file, [f"data.root={alone}", "tasks=[digits,sentiment]"], rows=Rows(only=["scratch"]))


def test_with_all_files_rows_that_are_not_asked_for_stay_in_the_plan(root: Path, file: Path) -> None:  # noqa: F811
    digits(root)
    whole = plan_file(file, [f"data.root={root}"])
    assert plan_file(file, [f"data.root={root}"], rows=Rows(only=["scratch"])).digest == whole.digest
    shutil.rmtree(root / "text_normalization")
    less = plan_file(file, [f"data.root={root}", "tasks=[digits,asr,sentiment]"])
    kept = {id for id, stage in whole.stages.items() if "normalization" not in stage.title}
    assert kept == less.stages.keys() and not [note for note in less.notes if "Not planned" in note]


def test_settings_need_no_data(file: Path, capsys: pytest.CaptureFixture) -> None:
    assert sweep.main([str(file), "--show", "joint"]) == 0
    assert "directions:" in capsys.readouterr().out
    seen = settings_of(file, ["data.root=/nowhere"])
    assert '"/nowhere"' in seen.show("joint") and seen.between("scratch", "joint")[0] == "pretrain.steps: 0 → 4"
    with pytest.raises(UserError, match="data.root: must be given"):
        plan_file(file)
    with pytest.raises(UserError, match="data.glue has 'x', whose last part names no fitting GLUE task"):
        settings_of(file, ["data.glue=[x]"])
