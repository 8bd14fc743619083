"""A finished run on new input: the same answers as its score, and errors for what it cannot do."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from tiny import World

from ablate import predict, transcribe
from ablate.data.speaker import less_mean
from ablate.errors import UserError
from ablate.stages.finished import Finished


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("runs"))
    leaf = world.pretrain("masked_text", steps=0, phase="decay")
    for task in ("sentiment", "sentence_pair", "normalization", "asr"):
        for id in world.finetune(task, leaf, steps=10, evaluate_every=10):
            setattr(world, task, world.run(id))
    return world


def test_lines_get_what_the_score_gave_the_same_texts(world, monkeypatch, capsys):
    rows = world.opened("normalization", "test").rows
    items = [line["hypothesis"] for line in _items(world.normalization)]
    assert Finished(world.normalization.path).predict([row["written"] for row in rows]) == items
    pairs = world.opened("sentence_pair", "test").rows
    text = "".join(f"{row['text']}\t{row['text_b']}\n" for row in pairs)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert predict.main([str(world.sentence_pair.path)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(line["hypothesis"]) for line in _items(world.sentence_pair)]


def test_a_line_is_what_ends_in_a_newline(world, monkeypatch, capsys):
    """Not at the other characters that Unicode breaks lines at, which corpora hold within a line."""
    for text, lines in (("ada\x0beats\nben\u2028sees\r\n", 2), ("ada\x85eats", 1), ("", 0)):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        assert predict.main([str(world.sentiment.path)]) == 0
        assert len(capsys.readouterr().out.splitlines()) == lines


def _items(run):
    from ablate.store.record import read_jsonl

    return list(read_jsonl(run.files / "items.jsonl"))


def test_recordings_of_any_rate_are_transcribed(world, tmp_path, capsys):
    for name, rate in (("a.wav", 8000), ("b.flac", 44100)):
        wave = np.random.default_rng(0).normal(0, 0.1, rate)
        soundfile.write(tmp_path / name, wave, rate)
    files = [str(tmp_path / name) for name in ("a.wav", "b.flac")]
    assert transcribe.main([str(world.asr.path), *files]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == files


def test_recordings_of_one_speaker_lose_their_mean_together():
    mels = [np.full((100, 80), 2.0, np.float16), np.full((300, 80), 6.0, np.float16)]
    known_M = np.full(80, -1.0)  # for 200 frames: (100 * 2 + 300 * 6 - 200) / 600 = 3
    assert [float(mel[0, 5]) for mel in less_mean(mels, known_M)] == [-1.0, 3.0]
    assert [mel.shape for mel in less_mean(mels, known_M)] == [(100, 80), (300, 80)]


@pytest.mark.parametrize(
    ("task", "lines", "message"),
    [
        ("sentiment", ["good", ""], "Line 2 has 0 texts, expected 1"),
        ("sentence_pair", ["one text"], r"Line 1 has 1 texts, expected 2 \(text, text_b\)"),
        ("asr", ["words"], "reads speech; use python -m ablate.transcribe"),
    ],
)
def test_wrong_lines_are_named(world, task, lines, message):
    with pytest.raises(UserError, match=message):
        Finished(getattr(world, task).path).predict(lines)


def test_what_is_no_finished_run_is_named(world, tmp_path):
    with pytest.raises(UserError, match="is no run folder"):
        Finished(tmp_path)
    with pytest.raises(UserError, match="is a run of kind 'tokenizer', expected finetune"):
        Finished(world.run(world.tokenizer).path)
    tuned, _ = world.finetune("sentiment", world.pretrain("masked_text", steps=0, phase="decay"), steps=11)
    unfinished = world.root / "finetune" / tuned[:2] / tuned
    with pytest.raises(UserError, match="is not finished"):
        Finished(unfinished)
    with pytest.raises(UserError, match=f"did you mean '{world.asr.path}'"):
        Finished(f"{world.asr.path}0")
    assert transcribe.main([str(world.asr.path), "--into", "de", "x.wav"]) == 2


def test_nothing_in_gives_nothing_out(world):
    assert Finished(world.sentiment.path).predict([]) == []


def test_case_follows_what_was_learnt(world):
    finished = Finished(world.normalization.path)
    assert finished.lower, "the tiny world is all lower case"
    assert finished.predict(["ADA EATS"]) == finished.predict(["ada eats"])
    assert replace(finished.task.config).table == "normalization"
