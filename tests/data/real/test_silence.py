"""Test recordings in which nothing is said are scored by what is inserted; those without transcripts are left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real_files import Made, cache, ids, root, small, utterances  # noqa: F401  fixtures

from ablate import sweep
from ablate.store.record import read_jsonl
from ablate.tasks.registry import TASKS
from analysis.records.items import read_counts


def test_insertions_by_hand():
    rows = [
        {"id": "1", "text": "one two", "frames": 100},
        {"id": "2", "text": "", "frames": 300},
        {"id": "3", "text": "...", "frames": 1200},
    ]
    (wer, cer, inserted), items = TASKS["asr"].build().score(rows, ["one two", "oh no", "hm"])
    assert wer.value == 150 and wer.counts["insertions"] == 3
    assert (inserted.metric, inserted.value, inserted.n) == ("insertions_per_minute", 12.0, 2)  # 3 in 15 s
    counts = read_counts(items, "insertions_per_minute")
    assert counts.score(counts.sums.sum(0, keepdims=True))[0] == 12
    scores, items = TASKS["asr"].build().score(rows[:1], ["one"])
    assert [one.metric for one in scores] == ["wer", "cer"] and "insertions_per_minute" not in items[0]


def silence(root: Path) -> None:  # noqa: F811  the fixture
    utterances(root, "test-clean", 14, "", "WORD", seconds=0.6)
    utterances(root, "dev-clean", 13, "", "WORDS", seconds=0.6)
    utterances(root, "train-clean", 11, "", "A WORD", seconds=0.6)


def test_only_test_splits_hold_silence(root, tmp_path):  # noqa: F811  the fixture
    before = ids(small(root), "retrieval.test")["retrieval.test"][0]
    utterances(root, "test-clean", 14, "", seconds=0.6)
    assert ids(small(root), "retrieval.test")["retrieval.test"][0] == before
    silence(root)
    made = Made(small(root), tmp_path / "made")
    assert sorted(row["text"] for row in made.table("asr.test").rows) == ["", "test text", "word"]
    for name in ("asr.train", "asr.dev", "retrieval.test"):
        assert all(row["text"] for row in made.table(name).rows) and made.result(name)["left_out"]["no text"] == 1


def test_no_transcript_is_not_silence(root, tmp_path):  # noqa: F811  the fixture
    chapter = root / "LibriSpeech/test-clean/4/1"
    (root / "test.tsv").write_text(f"{chapter}\n4-1-0000.flac\t48000\n")  # fairseq's, without transcripts beside it
    utterances(root, "test-clean", 14, "", seconds=0.6)
    speechstew = {"tests": {"asr.test_none": "test.tsv"}}
    config = small(root, **speechstew).resolved()
    with pytest.raises(Exception, match=r"\(1 × no text: there is no test.wrd or .ltr beside test.tsv\); add data"):
        config.split("asr", "test_none")
    rows = (
        Made(small(root, speech=("test.tsv",), test="LibriSpeech/test-other", test_unseen=""), tmp_path / "made")
        .table("speech.train")
        .rows
    )
    assert [set(row) - {"seconds", "frames"} for row in rows] == [{"id", "voice"}]


SWEEP = """
name: x
seeds: [0]
data:
  {preset: real, root: ROOT, translation: "", digits: "", sentiment: "", sentence_pair: "", normalization: "",
   speech: [LibriSpeech/train-lj], pairs: [], test_unseen: ""}
base:
  encoder: nano
  tokenizer: {size: 100}
  pretrain: {objectives: {contrastive: 1.0}, steps: 0, decay: 0, update: {speech: 4 s}}
  tasks:
    asr: {steps: 2, items: 2, splits: [test], frozen: 0.0}
    other: {preset: asr, steps: 2, items: 2, splits: [test], head: transducer}
rows: {joint: {}}
tasks: [asr, other]
table: {columns: [asr.wer, asr.insertions_per_minute]}
"""


@pytest.mark.slow
def test_a_sweep_scores_silence(root, tmp_path, monkeypatch):  # noqa: F811  the fixture
    silence(root)
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(SWEEP.replace("ROOT", json.dumps(str(root))))
    assert sweep.main(["x.yaml", "cluster=debug"]) == 0
    folders = [path.parent for path in Path("runs/score").glob("*/*/result.json")]
    assert len(folders) == 2
    for folder in folders:
        scores = json.loads((folder / "result.json").read_text())["scores"]
        assert [score["metric"] for score in scores] == ["wer", "cer", "insertions_per_minute"]
        items = list(read_jsonl(next(folder.rglob("items.jsonl"))))
        (silent,) = (item for item in items if not item["reference"])
        assert silent["insertions_per_minute"] == [6000 * silent["insertions"], 58]
        assert scores[2]["value"] == pytest.approx(silent["insertions"] * 6000 / 58) and scores[2]["n"] == 1
    assert "insertions per minute" in Path("runs/sweeps/x/table.md").read_text()
