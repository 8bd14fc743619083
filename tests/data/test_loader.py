"""Updates made ahead by any number of worker processes, from recordings or stored features, are the same updates."""

from __future__ import annotations

import multiprocessing
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ablate.data import loader as loading
from ablate.data.audio import Recording, features, frames
from ablate.data.columns import ColumnWriter
from ablate.data.loader import Loader
from ablate.data.packing import streams
from ablate.data.recordings import Recordings, RecordingsWriter
from ablate.data.table import Table, TableWriter
from ablate.errors import UserError

Feeds = tuple[dict[str, Table], dict[str, Path]]  # tables, and folders of their texts as ids

BUDGETS = {"speech": 400, "pair": 3}

multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "soundfile"])  # many workers start here


def corpus(folder: Path, audio: Path, stored: bool) -> Feeds:
    """Speech and pairs of twenty recordings, and tokens of their texts: what opens their streams, but for names and
    seed.
    """
    with RecordingsWriter(folder / "recordings") as writer:
        for path in sorted(audio.iterdir()):
            recording = Recording(path)
            writer.add(features(recording) if stored else None, frames(recording), recording.fields(audio))
    recordings = Recordings(folder / "recordings", audio)
    tables, counts = {}, np.diff(recordings.starts)
    for name in ("speech", "pair"):
        with TableWriter(folder / name, ["recordings"]) as table:
            for place, path in enumerate(sorted(audio.iterdir())):
                table.add({"id": path.stem, "text": "a b"}, recording=(0, place), frames=int(counts[place]))
        tables[name] = Table(folder / name, f"{name}.train", [recordings])
    (folder / "tokens").mkdir()
    for suffix, dtype, values in (("i32", "<i4", np.arange(40)), ("i64", "<i8", np.arange(0, 42, 2))):
        ids = ColumnWriter(folder / "tokens" / f"text.{suffix}", dtype)
        ids.extend(values)
        ids.close()
    return tables, {"pair": folder / "tokens"}


def opened(corpus: Feeds, *names: str, **fields: Any) -> Any:
    """What opens streams over some tables of a corpus."""
    return partial(streams, {name: corpus[0][name] for name in names}, corpus[1], **fields)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Feeds]:
    root = tmp_path_factory.mktemp("loader")
    rng = np.random.default_rng(0)
    (root / "audio").mkdir()
    for number in range(20):
        wave = rng.uniform(-0.3, 0.3, int(rng.integers(8_000, 20_000)))
        soundfile.write(root / "audio" / f"{number:02}.wav", wave, 16_000)
    return {stored: corpus(root / str(stored), root / "audio", stored) for stored in (True, False)}


def up(loader: Loader) -> Loader:
    """The loader, once a worker is there: before, the training process makes what it needs."""
    while not loader._ready():
        time.sleep(0.01)
    return loader


def taken(
    corpus: Feeds, workers: int | None, cursors: dict[str, int], updates: int = 6
) -> tuple[list[str], list[dict]]:
    made = opened(corpus, "speech", "pair", seed=3, bucket=8)
    contents, after = [], []
    with up(Loader(made, BUDGETS, shards=2, workers=workers)) as loader:
        for step in range(updates):
            shards, cursors = loader.update(step, cursors)
            contents.append(repr(shards))
            after.append(cursors)
    return contents, after


@pytest.fixture
def made_here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each update that this process makes."""
    made, calls = loading._made, []
    monkeypatch.setattr(loading, "_made", lambda *arguments: (calls.append(1), made(*arguments))[1])
    return calls


def test_nothing_depends_on_workers_or_on_where_features_come_from(
    corpora: dict[bool, Feeds], made_here: list[int]
) -> None:
    expected, cursors = taken(corpora[True], 0, {})
    assert len(set(expected)) == 6
    assert taken(corpora[False], 0, {}) == (expected, cursors)
    made_here.clear()
    for workers in (1, 2, 3):
        assert taken(corpora[False], workers, {}) == (expected, cursors)
    assert len(made_here) == 3  # the first of each: nothing was begun when it was asked for
    # Resumed from the checkpoint's cursors, under another number of workers, training goes on exactly there.
    for workers, step in ((2, 1), (1, 3)):
        assert taken(corpora[False], workers, cursors[step - 1], updates=6 - step) == (expected[step:], cursors[step:])


def test_training_does_not_wait_for_workers_that_start(
    corpora: dict[bool, Feeds], made_here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, cursors = taken(corpora[True], 0, {})
    read = opened(corpora[False], "speech", "pair", seed=3, bucket=8)
    monkeypatch.setattr(Loader, "_ready", lambda self: False)
    made_here.clear()
    with Loader(read, BUDGETS, shards=2, workers=2) as loader:
        assert repr(loader.update(0, {})[0]) == expected[0]
        monkeypatch.undo()
        assert repr(up(loader).update(1, cursors[0])[0]) == expected[1]  # made here, and the next ones begun
        assert [before for before, _, _ in loader._ahead] == cursors[1:6] + [loader._ahead[-1][0]]
        assert repr(loader.update(2, cursors[1])[0]) == expected[2]


def test_what_is_stored_is_made_ahead_too(corpora: dict[bool, Feeds], made_here: list[int]) -> None:
    stored = opened(corpora[True], "speech", seed=3)
    with up(Loader(stored, {"speech": 400})) as loader:
        _, cursors = loader.update(0, {})
        for _, _, made in list(loader._ahead):
            made.result()
        assert len(made_here) == 4
        loader.update(1, cursors)
        assert len(loader._ahead) == 3


def test_only_recordings_are_worth_worker_processes(corpora: dict[bool, Feeds]) -> None:
    loaders = {stored: Loader(opened(corpus, "speech", seed=0), BUDGETS) for stored, corpus in corpora.items()}
    assert loaders[True].workers == 0 and 1 <= loaders[False].workers <= 4


def test_going_elsewhere_throws_away_what_was_made(corpora: dict[bool, Feeds]) -> None:
    expected, cursors = taken(corpora[True], 0, {})
    read = opened(corpora[False], "speech", "pair", seed=3, bucket=8)
    with up(Loader(read, BUDGETS, shards=2, workers=1)) as loader:
        loader.update(0, {})
        assert repr(loader.update(4, cursors[3])[0]) == expected[4]


def test_a_recording_that_is_gone_is_named_in_the_training_process(corpora: dict[bool, Feeds], tmp_path: Path) -> None:
    tables, tokens = corpora[False]
    moved = [Recordings(recordings.folder, tmp_path) for recordings in tables["speech"].recordings]
    speech = Table(tables["speech"].folder, "speech.train", moved)
    with up(Loader(opened(({"speech": speech}, tokens), "speech", seed=0), BUDGETS, workers=1)) as loader:
        loader.feeds["speech"].collate = lambda draws: None  # the first is made here, the next in the worker
        _, cursors = loader.update(0, {})
        with pytest.raises(UserError, match=r"\d\d.wav: there is no such"):
            loader.update(1, cursors)
