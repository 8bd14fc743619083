"""Features normalised by speaker: a score of all of a speaker's recordings at once, and one of each by itself."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from real_files import utterances

from ablate import sweep, transcribe
from ablate.data.speaker import KNOWN, Alone, less_mean
from ablate.data.table import Table, TableWriter
from ablate.stages import finished, listening
from ablate.store.record import read_jsonl
from ablate.tasks.scoring import metrics

SWEEP = """
name: x
data: {preset: real, root: ROOT, translation: '', digits: '', max_seconds: 2.0, normalisation: speaker}
base:
  pretrain: {objectives: {masked_text: 1.0}, steps: 0, decay: 0}
  tasks: {asr: {head: classes, steps: 12, items: 4, evaluate_every: 12}}
rows: {only: {}}
tasks: [asr]
table: {columns: [asr.wer, asr.wer_alone]}
"""


def spoken(folder: Path, means: bool) -> Table:
    """Two speakers of three recordings, around means of 5 and -1."""
    rng = np.random.default_rng(0)
    with TableWriter(folder) as writer:
        for voice, level in (("a", 5.0), ("b", -1.0)):
            for n in range(3):
                mel_FM = (rng.normal(size=(40 + n, 80)) + level).astype(np.float16)
                sum_M = mel_FM.sum(0, dtype=np.float64) if means else None
                writer.add({"id": f"{voice}{n}", "voice": voice}, mel_FM, sum_M=sum_M)
    return Table(folder, "x.test")


def test_alone_a_recording_leans_on_what_is_known(tmp_path):
    table, known_M = spoken(tmp_path / "x", True), np.full(80, 2.0, np.float32)
    alone = pickle.loads(pickle.dumps(Alone(table, known_M)))
    for i in range(6):
        raw_FM = table.raw(i).astype(np.float64)
        mean_M = (raw_FM.sum(0) + KNOWN * 2.0) / (len(raw_FM) + KNOWN)
        np.testing.assert_allclose(alone.mel(i), raw_FM - mean_M, atol=4e-3)
        assert np.array_equal(alone.mel(i), less_mean([table.raw(i)], known_M)[0])
        assert abs(float(table.mel(i).mean())) < 0.1 < abs(float(alone.mel(i).mean()))
    assert len(alone) == 6 and alone.frames.tolist() == table.frames.tolist()


def test_the_second_score_is_what_single_files_get(root: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """And the first what all of a speaker's get, but for the two seconds that the training speakers count."""
    for speaker in (11, 12, 13):
        utterances(root, "train-clean", speaker, *(f"WORD {chr(65 + n)}" for n in range(6)), seconds=0.6, seed=speaker)
    shutil.rmtree(root / "LibriSpeech/test-clean")
    utterances(root, "test-clean", 14, *(f"WORD {chr(65 + n)}" for n in range(5)), seconds=0.6)
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(SWEEP.replace("ROOT", json.dumps(str(root))))
    assert sweep.main(["x.yaml", "cluster=debug"]) == 0
    (folder,) = (path.parent for path in Path("runs/score").glob("*/*/result.json") if '"test"' in path.read_text())
    result = json.loads((folder / "result.json").read_text())
    scores = {score["metric"]: score for score in result["scores"]}
    assert list(scores) == ["wer", "cer", "wer_alone"]
    assert scores["wer"]["signature"].endswith("|mean of all recordings of a speaker in the split")
    assert scores["wer_alone"]["signature"].endswith("|mean of each recording alone")
    assert {one["metric"] for one in result["baselines"]} == {"wer", "cer", "wer_alone"}

    capsys.readouterr()
    items = list(read_jsonl(next(folder.rglob("items.jsonl"))))
    assert all(item["cluster"] == {"speaker": "14", "document": "14-1"} for item in items)
    files = [str(root / f"LibriSpeech/test-clean/14/1/{item['id'].rpartition('/')[2]}.flac") for item in items]
    assert transcribe.main([str(folder), *files]) == 0
    said = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    errors = metrics.word_errors([item["reference"] for item in items], said)
    assert [item["wer_alone"] for item in items] == [[100 * one.total, one.units] for one in errors]
    assert scores["wer_alone"]["value"] == metrics.error_rate(errors)
    table = (tmp_path / "runs/sweeps/x/table.md").read_text()
    assert "WER alone (%)" in table and "the mean over all recordings of a speaker in the split is subtracted" in table


def test_speakers_are_told_apart(monkeypatch, capsys):
    """FILEs are each of another speaker, those after --speaker of one."""
    asked = []
    run = SimpleNamespace(likeness=1)
    monkeypatch.setattr(finished, "Finished", lambda folder: setattr(run, "normalisation", folder) or run)
    monkeypatch.setattr(listening, "Listening", lambda *given: given)
    monkeypatch.setattr(listening, "transcribed", lambda heard, voices, refuse: asked.append(voices) or ())
    assert transcribe.main(["run", "x", "y", "--speaker", "a", "b", "--speaker", "c"]) == 0
    assert transcribe.main(["run", "--speaker", "a", "b"]) == 0
    assert asked == [[["x"], ["y"], ["a", "b"], ["c"]], [["a", "b"]]]
    with pytest.raises(SystemExit):
        transcribe.main(["run"])
    said = capsys.readouterr().err
    assert "at least one FILE" in said and said.count("--speaker changes nothing") == 2
    assert transcribe.main(["speaker", "--speaker", "a", "b"]) == 0 and not capsys.readouterr().err
