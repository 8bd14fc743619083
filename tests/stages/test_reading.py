"""Training on recordings that are read when they are needed is training on stored features, whoever reads them."""

import json
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile
from tiny import WORDS, World

from ablate.data import loader as loading
from ablate.data.audio import Recording, features, frames
from ablate.data.corpus import CorpusConfig, RecordingsConfig, Split, SplitConfig
from ablate.data.loader import Loader
from ablate.data.recordings import Recordings, RecordingsWriter
from ablate.data.table import TableWriter
from ablate.store import run
from ablate.training import checkpoint

multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "soundfile"])  # many workers start here


TABLES = {"speech": ("train", "dev"), "text": ("train",), "asr": ("train", "dev", "test")}


@dataclass(frozen=True, kw_only=True)
class Sounds(RecordingsConfig):
    """Twelve recordings of noise."""

    tag: ClassVar[str] = "sounds"
    recipe: ClassVar[int] = 1
    how: ClassVar[tuple[str, ...]] = ("features", "root")
    features: str
    root: str

    def write(self, run):
        with RecordingsWriter(run.files) as writer:
            for i in range(12):
                recording = Recording(Path(self.root) / f"{i}.wav")
                rng = np.random.default_rng(i)
                recording.path.parent.mkdir(exist_ok=True, parents=True)
                soundfile.write(recording.path, rng.uniform(-0.3, 0.3, 8_000 + 200 * i), 16_000)
                mel = features(recording) if self.features == "stored" else None
                writer.add(mel, frames(recording), recording.fields(Path(self.root)))
        return {}

    def open(self, folder):
        return Recordings(folder, Path(self.root))


@dataclass(frozen=True, kw_only=True)
class Said(SplitConfig):
    """Twelve rows with words; all tables are of the same sounds."""

    tag: ClassVar[str] = "said"
    recipe: ClassVar[int] = 1
    table: str
    split: str

    def write(self, run, recordings):
        with TableWriter(run.files, [folder.id for folder in recordings]) as writer:
            for i in range(12):
                row = {"id": f"{self.table}-{self.split}-{i}", "text": " ".join(WORDS[i % 5 :])}
                if recordings:
                    starts = Recordings(recordings[0].files).starts
                    writer.add(row, recording=(0, i), frames=int(starts[i + 1] - starts[i]))
                else:
                    writer.add(row)
        return {"rows": 12, "hours": writer.hours}


@dataclass(frozen=True, kw_only=True)
class Recorded(CorpusConfig):
    """Splits of text and of noise with words."""

    tag: ClassVar[str] = "recorded"
    root: str
    features: str = "stored"

    def tables(self):
        return TABLES

    def split(self, table, split):
        sounds = () if table == "text" else (Sounds(features=self.features, root=self.root),)
        return Split(Said(table=table, split=split), sounds)


def interrupted(world, id, monkeypatch, workers):
    """Run a stage with so many workers, and have it stop after the first ten updates."""
    under(monkeypatch, workers)
    with monkeypatch.context() as patch:
        patch.setattr(run.RunFolder, "stopping", property(lambda _: True))
        with pytest.raises(run.Stopped, match="update 10"):
            world.run(id)


def under(monkeypatch, workers):
    """Read by so many workers, which are there before training begins."""

    def entered(loader):
        while not loader._ready():
            time.sleep(0.01)
        return loader

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(workers)))
    monkeypatch.setattr(Loader, "__enter__", entered)


@pytest.mark.parametrize("kind", ["pretrain", "finetune"])
def test_reading_changes_nothing_and_resumes_under_another_number_of_workers(tmp_path, monkeypatch, kind):
    worlds = {
        name: World(tmp_path / name, Recorded(features=name, root=str(tmp_path / "audio")))
        for name in ("stored", "read")
    }
    ids, made, make = set(), [], loading._made
    for world in worlds.values():
        leaf = world.pretrain("contrastive", steps=0, phase="decay")
        world.run(leaf)
        ids.add(
            world.pretrain("contrastive", steps=20, seed=3)
            if kind == "pretrain"
            else world.finetune("asr", leaf, steps=20, items=3, evaluate_every=10)[0]
        )
    (id,) = ids  # how features come about is no part of identity
    expected = worlds["stored"].run(id)
    monkeypatch.setattr(loading, "_made", lambda *arguments: (made.append(1), make(*arguments))[1])
    interrupted(worlds["read"], id, monkeypatch, workers=2)
    under(monkeypatch, workers=1)
    resumed = worlds["read"].run(id)
    assert len(made) == 2  # by the training process, as nothing was begun: the first updates of both attempts
    one, other = (checkpoint.of(r).weights for r in (expected, resumed))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    assert (expected.files / "metrics.jsonl").read_bytes() == (resumed.files / "metrics.jsonl").read_bytes()
    assert 0 <= json.loads((resumed.path / "result.json").read_text())["waiting"] <= 1
