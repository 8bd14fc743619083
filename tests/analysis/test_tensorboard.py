"""TensorBoard reads back what metrics.jsonl says, and nothing twice."""

import importlib.util
import json
import subprocess
import sys

import pytest

from ablate.errors import UserError
from analysis import tensorboard
from analysis.records.frame import read

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="the extra `tensorboard` is not installed"
)
FEW = {"rows": ("scratch", "joint", "joint_longer"), "tasks": ("asr",), "seeds": (0, 1), "table": {}, "claims": {}}


def scalars(folder):
    """What TensorBoard's own reader finds in a folder: tag -> [(step, value)]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def logged(records, kind, id):
    """The same of metrics.jsonl, read by hand."""
    values = {}
    for line in map(json.loads, (records.files(kind, id) / "metrics.jsonl").read_text().splitlines()):
        for name, value in line.items():
            if name != "step":
                values.setdefault(name, []).append((line["step"], pytest.approx(value, rel=1e-6)))
    return values


@needs_tensorboard
def test_every_stage_is_read_back_as_it_was_logged(fake, tmp_path):
    folder = fake(**FEW, points=({"size": "narrow"}, {"size": "wide"}))
    tensorboard.write(folder, to=tmp_path / "events")
    records = read(folder)
    names = {}
    for name, kind, id in tensorboard.logged(records):
        names[name] = id
        assert scalars(tmp_path / "events" / name) == logged(records, kind, id), name
    assert len(set(names.values())) == len(names)  # the trunk that rows share is there once
    assert {
        "joint/size=wide/seed_1/trunk",
        "joint/size=wide/seed_1/leaf",
        "joint_longer/size=wide/seed_1/trunk_2",
    } <= set(names)
    assert "joint_longer/size=wide/seed_1/trunk_1" not in names and "scratch/size=narrow/seed_0/finetune_asr" in names


@needs_tensorboard
def test_scores_and_settings_lie_with_their_seed(fake, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    folder = fake(**FEW)
    tensorboard.write(folder)
    place = folder / "tensorboard" / "joint_longer" / "seed_1"
    s = read(folder).scores.query("row == 'joint_longer' and seed == 1 and split == 'test'")
    assert scalars(place)["score/asr.test.wer"] == [(0, pytest.approx(s.value.item(), rel=1e-6))]
    events = EventAccumulator(str(place))
    events.Reload()
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["row"].string_value == "joint_longer" and settings["seed"].number_value == 1
    assert settings["steps"].string_value == "8000" and "encoder.width" not in settings  # the same in all rows


@needs_tensorboard
def test_again_appends_what_is_new_and_writes_anew_what_is_other(fake):
    folder = fake(**FEW)
    records = read(folder)
    id = records.manifest[-1]["stages"]["leaf"]
    log = records.files("pretrain", id) / "metrics.jsonl"
    whole = log.read_text()
    log.write_text(whole[: len(whole) // 2])  # torn in the middle of a line: the stage is running
    paths = tensorboard.write(folder)
    before = {path: path.read_bytes() for path in paths}
    mine = folder / "tensorboard" / "joint_longer" / "seed_1" / "leaf" / tensorboard.FILE
    log.write_text(whole)
    inode = mine.stat().st_ino
    assert tensorboard.write(folder) == paths
    assert [path for path in paths if path.read_bytes() != before[path]] == [mine]
    assert mine.read_bytes().startswith(before[mine]) and mine.stat().st_ino == inode  # a reader goes on where it was
    assert scalars(mine.parent) == logged(records, "pretrain", id)
    ended = mine.read_bytes()
    log.write_text("".join(whole.splitlines(keepends=True)[:-2]))  # resumed from a checkpoint
    tensorboard.write(folder)
    assert mine.read_bytes() == ended
    log.write_text(whole.replace("0.004", "0.005"))  # trained anew, otherwise
    tensorboard.write(folder)
    assert scalars(mine.parent) == logged(records, "pretrain", id) and mine.read_bytes() != ended


def test_without_it_the_extra_is_named(fake, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"\.\[tensorboard\]"):
        tensorboard.write(fake(**FEW))


@needs_tensorboard
def test_the_command_says_how_to_look_and_imports_no_torch(fake):
    folder = fake(**FEW)
    code = (
        "import sys; from analysis import tensorboard; tensorboard.main(); "
        "assert not {'torch', 'tensorflow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"tensorboard --logdir {folder / 'tensorboard'}\n")
