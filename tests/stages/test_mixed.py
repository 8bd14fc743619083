"""A sweep that mixes corpora, from its file to its report: interrupted it ends the same, and says what it drew."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from ablate.planning.plan import plan_file
from ablate.stages.execute import execute
from ablate.store import run
from ablate.store.record import sweep_path
from ablate.store.stage import materialise
from ablate.training import checkpoint
from analysis import report

UPDATE = {"speech": "3 s", "text": 60, "pairs": 3}
PRETRAIN = {
    "objectives": {"masked_speech": {"targets": "random_projection"}, "masked_text": 1.0},
    "steps": 30,
    "decay": 0,
    "update": UPDATE,
}


def speech(folder: Path, speaker: int, count: int) -> None:
    folder = folder / str(speaker) / "1"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(speaker)
    names = [f"{speaker}-1-{n:04}" for n in range(count)]
    for name in names:
        soundfile.write(folder / f"{name}.flac", rng.normal(0, 0.1, 8_000), 16_000)
    (folder / f"{speaker}-1.trans.txt").write_text("".join(f"{name} ONE TWO THREE\n" for name in names))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    for speaker, (name, count) in enumerate({"big": 24, "small": 6, "dev": 3}.items()):
        speech(folder / "data" / name, speaker, count)
    for name, count in (("many", 200), ("few", 40)):
        (folder / "data" / f"{name}.txt").write_text("".join(f"{name} words of {n} things\n" for n in range(count)))
    empty = ("test", "test_unseen", "translation", "sentiment", "sentence_pair", "digits", "normalization")
    data = {
        **dict.fromkeys(empty, ""),
        "preset": "real",
        "root": str(folder / "data"),
        "speech": ["big", "small"],
        "text": ["many.txt", "few.txt"],
        "pairs": [],
        "asr": [],
        "dev": "dev",
        "mix": {"temperature": 2},
    }
    encoder = {"preset": "nano", "width": 16, "heads": 2, "ffn": 32, "groups": 2}
    base = {"encoder": encoder, "tokenizer": {"size": 300}, "pretrain": PRETRAIN, "tasks": {}}
    made = {"data": data, "base": base, "rows": {"mixed": {}}, "tasks": []}
    (folder / "mixed.yaml").write_text(yaml.safe_dump(made))
    return folder / "mixed.yaml"


def made(sweep: Path, root: Path, monkeypatch: pytest.MonkeyPatch, looks: int | None = None) -> run.RunFolder:
    """Run all stages; with `looks`, the trunk is stopped at that look for a signal, and taken up again."""
    monkeypatch.setenv("ABLATE_CACHE", str(root.parent / "cache"))
    plan = plan_file(sweep, [], root)
    materialise(plan, root)
    for id, stage in plan.stages.items():
        if stage.kind == "pretrain" and looks is not None:
            with monkeypatch.context() as patch:
                answers = iter([False] * looks)
                patch.setattr(run.RunFolder, "stopping", property(lambda _, of=answers: next(of, True)))
                with pytest.raises(run.Stopped):
                    execute(id, root)
            looks = None
        execute(id, root)
    (trunk,) = [id for id, stage in plan.stages.items() if stage.kind == "pretrain" and stage.steps]
    return run.RunFolder(root, "pretrain", trunk)


@pytest.mark.slow
def test_interrupted_it_ends_the_same_and_the_report_says_what_was_drawn(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = made(sweep, tmp_path / "one", monkeypatch), made(sweep, tmp_path / "two", monkeypatch, looks=1)
    assert one.id == two.id
    a, b = (one.result()["files"] for one in (one, two))
    assert all(a[name] == b[name] for name in a if name != checkpoint.CHECKPOINT) and checkpoint.MODEL in a
    assert (one.files / "metrics.jsonl").read_text() == (two.files / "metrics.jsonl").read_text()
    exposure = one.result()["exposure"]
    assert exposure == two.result()["exposure"]
    for stream, names in (("speech", {"big": 24, "small": 6}), ("text", {"many.txt": 200, "few.txt": 40})):
        corpora = exposure[stream]["corpora"]
        assert corpora.keys() == names.keys()
        assert sum(own["items"] for own in corpora.values()) == exposure[stream]["items"]
        first, second = names
        assert corpora[second]["epochs"] > corpora[first]["epochs"] > 0  # the smaller one is seen more often
    assert exposure["speech"]["corpora"]["big"]["share"] == pytest.approx(2 / 3, abs=1e-4)  # √24 : √6 = 2 : 1
    report.write("mixed", tmp_path / "two")
    folder = sweep_path(tmp_path / "two", "mixed")
    assert "What did pre-training draw from each corpus?" in (folder / "table.md").read_text()
    lines = list(csv.DictReader((folder / "corpora.csv").open()))
    assert [(line["stream"], line["corpus"]) for line in lines if line["share"] == "0.6667"] == [("speech", "big")]
    assert sum(float(line["drawn"]) for line in lines) == pytest.approx(2, abs=1e-3)
    assert json.loads((one.path / "identity.json").read_text())["config"]["mix"]["speech"].keys() == {
        "temperature",
        "type",
        "weights",
    }
