"""Training on recordings that are read when they are needed is training on stored features, whoever reads them."""

import json
import multiprocessing
import os
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import soundfile
from tiny import WORDS, World

from ablate import checkpoint, run
from ablate.data import loader as loading
from ablate.data.audio import Recording, features, frames
from ablate.data.loader import Loader
from ablate.data.table import CorpusConfig, TableWriter, write_corpus

multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "soundfile"])  # many workers start here


@dataclass(frozen=True, kw_only=True)
class Recorded(CorpusConfig):
    """Twelve recordings of noise a split, with words."""

    recipe: ClassVar[int] = 1
    how: ClassVar[tuple[str, ...]] = ("features",)

    features: str = "stored"

    def prepare(self, run):
        audio = run.path / "audio"
        audio.mkdir()
        for table, splits in {"speech": ("train", "dev"), "text": ("train",), "asr": ("train", "dev", "test")}.items():
            for split in splits:
                with TableWriter(run.files, table, split) as writer:
                    for i in range(12):
                        row = {"id": f"{table}-{split}-{i}", "text": " ".join(WORDS[i % 5 :])}
                        if table == "text":
                            writer.add(row)
                            continue
                        recording = Recording(audio / f"{row['id']}.wav")
                        rng = np.random.default_rng(i)
                        soundfile.write(recording.path, rng.uniform(-0.3, 0.3, 8_000 + 200 * i), 16_000)
                        if self.features == "stored":
                            writer.add(row, features(recording))
                        else:
                            writer.add(row | recording.fields(audio), frames=frames(recording))
        return write_corpus(run, {}, root=str(audio))


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
    worlds = {name: World(tmp_path / name, Recorded(features=name)) for name in ("stored", "read")}
    ids, made, make = set(), [], loading._made
    for world in worlds.values():
        world.run(world.corpus), world.run(world.tokenizer)
        leaf = world.pretrain("contrastive", steps=0, phase="decay")
        world.run(leaf)
        ids.add(
            world.pretrain("contrastive", steps=20, seed=3) if kind == "pretrain"
            else world.finetune("asr", leaf, steps=20, items=3, evaluate_every=10)[0]
        )  # fmt: skip
    (id,) = ids  # how features come about is no part of identity
    expected = worlds["stored"].run(id)
    monkeypatch.setattr(loading, "_made", lambda *arguments: (made.append(1), make(*arguments))[1])
    interrupted(worlds["read"], id, monkeypatch, workers=2)
    under(monkeypatch, workers=1)
    found = worlds["read"].run(id)
    assert len(made) == 2  # by the training process, as nothing was begun: the first updates of both attempts
    one, other = (checkpoint.of(r).weights for r in (expected, found))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    assert (expected.files / "metrics.jsonl").read_bytes() == (found.files / "metrics.jsonl").read_bytes()
    assert 0 <= json.loads((found.path / "result.json").read_text())["waiting"] <= 1
