"""What is kept beside a sweep: read warm as cold, read anew only where a run changed, and never trusted when
damaged.
"""

import json

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from analysis import report
from analysis.figures.curves import finetuning_curves, pretraining_curves
from analysis.records import logs
from analysis.records.frame import measure, read
from analysis.statistics.compare import effect_with_items

FEW = {
    "rows": ("speech_only", "joint"),
    "tasks": ("asr",),
    "seeds": (0, 1),
    "claims": {},
    "table": {"blocks": [{"reference": "joint"}]},
}
DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "last byte lost": lambda data: data[:-1],
    "a byte turned": lambda data: data[:1000] + bytes([data[1000] ^ 255]) + data[1001:],
    "empty": lambda data: b"",
    "foreign": lambda data: b"row,value\njoint,1\n",
}


@pytest.fixture
def opened(monkeypatch):
    """Logs that were opened, as paths."""
    paths, real = [], logs.read_jsonl
    monkeypatch.setattr(logs, "read_jsonl", lambda path: paths.append(path) or real(path))
    return paths


def frames(folder):
    """Every curve of a sweep, read as a new process would; and keep them."""
    records = read(folder)
    curves = pretraining_curves(records), finetuning_curves(records)
    records.logs.write()
    return curves


def equal(one, other):
    for a, b in zip(one, other, strict=True):
        assert len(a)
        assert_frame_equal(a, b)


def stage(folder, kind):
    """Folder of the first stage of a kind, and its log."""
    records = read(folder)
    about = records.manifest[0]["stages"]
    id = about["leaf"] if kind == "pretrain" else about[kind]["asr"]
    return records.path(kind, id), records.files(kind, id) / "metrics.jsonl"


def test_warm_equals_cold_and_opens_no_log(fake, opened):
    folder = fake(**FEW)
    cold = frames(folder)
    assert len(opened) == len(set(opened)) == 4 * 3  # trunk, leaf and fine-tuning of two rows and seeds, each once
    opened.clear()
    equal(frames(folder), cold)
    assert opened == []


def test_a_run_done_anew_is_read_again_and_no_other(fake, opened):
    folder = fake(**FEW)
    cold = frames(folder)
    changed, log = stage(folder, "finetune")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps({"new": 7.0} | line | {"lr": 0.5}) + "\n" for line in lines))
    opened.clear()
    equal(frames(folder), cold)  # the result says when a run is done anew: a log alone is not looked at
    assert opened == []
    result = json.loads((changed / "result.json").read_text())
    (changed / "result.json").write_text(json.dumps(result | {"ended": "2030-01-01T00:00:00Z"}))
    again = frames(folder)
    assert opened == [log]
    own = again[1][again[1].stage == changed.name]
    assert set(own[own.metric == "lr"].value) == {0.5} and set(own[own.metric == "new"].value) == {7.0}
    assert_frame_equal(again[0], cold[0])
    opened.clear()
    equal(frames(folder), again)
    (folder / "logs.npz").unlink()
    equal(frames(folder), again)


def test_an_unfinished_run_is_read_each_time_and_not_kept(fake, opened):
    folder = fake(**FEW)
    running, log = stage(folder, "finetune")
    (running / "result.json").unlink()
    (running / "claim.json").write_text(json.dumps({"token": log.parent.name}))
    frames(folder)
    log.write_text(log.read_text() + json.dumps({"step": 900, "dev/wer": 1.5}) + "\n")
    opened.clear()
    tuned = frames(folder)[1]
    assert opened == [log]
    assert tuned[(tuned.stage == running.name) & (tuned.step == 900)].value.tolist() == [1.5]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_logs_are_parsed_again(fake, opened, damage):
    folder = fake(**FEW)
    cold = frames(folder)
    whole = (folder / "logs.npz").read_bytes()
    (folder / "logs.npz").write_bytes(DAMAGES[damage](whole))
    opened.clear()
    equal(frames(folder), cold)
    assert len(opened) == 12
    opened.clear()
    equal(frames(folder), cold)  # and it is whole again
    assert opened == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_of_items_is_not_used(fake, damage):
    folder = fake(**FEW)
    records = read(folder)
    cold = effect_with_items(records, {"joint": 1.0}, measure(records, "asr"))
    records.index.write(records.results.digests())
    whole = (folder / "index.npz").read_bytes()
    assert read(folder).index.entries
    (folder / "index.npz").write_bytes(DAMAGES[damage](whole))
    records = read(folder)
    assert not records.index.entries
    assert effect_with_items(records, {"joint": 1.0}, measure(records, "asr")) == cold


def test_arrays_of_another_program_are_not_used(fake):
    folder = fake(**FEW)
    for name in ("index.npz", "logs.npz"):
        np.savez(folder / name, about=np.zeros(3), draws=np.ones((2, 2)))
    records = read(folder)
    assert not records.index.entries and not records.logs.names
    np.save(folder / "index.npy", np.ones(3))
    (folder / "index.npy").rename(folder / "index.npz")
    assert not read(folder).index.entries


def test_a_report_whose_state_was_copied_half_is_made_again(fake):
    folder = fake(**FEW | {"rows": ("joint",)})
    made = report.write(folder)
    before = {path: path.read_bytes() for path in made["table"]}
    (folder / report.STATE).write_bytes((folder / report.STATE).read_bytes()[:50])
    assert report.write(folder) == made
    assert {path: path.read_bytes() for path in before} == before
    json.loads((folder / report.STATE).read_text())
