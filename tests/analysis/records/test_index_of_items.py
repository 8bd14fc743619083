"""The index: reading again gives the same bytes without opening items, and a score run anew is read anew."""

import json
import os

import numpy as np
import pytest

from analysis import report
from analysis.records.frame import measure, read
from analysis.records.index import Index, Parts
from analysis.statistics.compare import effect_with_items

FEW = {
    "rows": ("scratch", "speech_only", "joint"),
    "tasks": ("asr", "sentence_pair"),
    "seeds": (0, 1),
    "claims": {},
    "table": {"blocks": [{"reference": "joint"}], "compare_with": "scratch"},
}


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".csv", ".md", ".tex")}


def test_warm_equals_cold_to_the_byte_and_opens_no_items(fake):
    folder = fake(**FEW)
    report.write(folder)
    cold = files(folder)
    paths = list(folder.parents[1].glob("score/**/items.jsonl"))
    for path in paths:
        path.write_text("")
    assert len(paths) == 2 * (
        3 * 2 + 2
    )  # of two seeds: three rows on both test sets of asr, two rows on sentence pairs
    (folder / report.STATE).unlink()  # so that all is made again
    report.write(folder)
    assert files(folder) == cold


def test_nothing_is_made_again_while_nothing_changed(fake):
    folder = fake(**FEW)
    made = report.write(folder)
    before = {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != report.STATE
    }
    assert report.write(folder) == made
    assert {path: path.stat().st_mtime_ns for path in before} == before
    made["figures"][0].unlink()  # what was deleted is made again
    report.write(folder)
    assert made["figures"][0].exists()


def test_a_score_run_anew_is_read_anew(fake):
    folder = fake(**FEW)
    what = measure(read(folder), "asr.wer")
    report.write(folder)
    records = read(folder)
    run = next(iter(records.finished(what)["joint", "", 0][0]))
    path = records.path("score", run)
    items_of = records.files("score", run) / "items.jsonl"
    lines = [json.loads(line) | {"substitutions": 10} for line in items_of.read_text().splitlines()]
    items_of.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = json.loads((path / "result.json").read_text())
    next(s for s in result["scores"] if s["split"] == "test")["value"] = 100.0
    (path / "result.json").write_text(json.dumps(result))
    report.write(folder)
    assert ",100.0000," in (folder / "table.csv").read_text() or "100" in (folder / "table.md").read_text()
    found = effect_with_items(read(folder), {"joint": 1.0}, what)
    assert found.n == 2 and found.mean < -65  # one seed has 100 % now


def test_an_index_made_by_other_code_is_not_used(fake, tmp_path):
    folder = fake(**FEW)
    report.write(folder)
    assert Index.read(folder / "index.npz", read(folder).index.version).entries
    assert not Index.read(folder / "index.npz", "other").entries


def test_entries_of_results_that_are_gone_are_dropped(tmp_path):
    index = Index(tmp_path / "index.npz", "v")
    three, two = (
        Parts("x", 1.0, np.arange(n, dtype=np.float32), 1.5, "voices", np.arange(n + 4, dtype=np.float32))
        for n in (3, 2)
    )
    for name in ("a", "b"):
        key = (name, "test", "wer")
        index.together(name, lambda key=key: {key: three})
    index.together("bleu", lambda: {("a", "test", "bleu"): None})
    index.together("cer", lambda: {("a", "test", "cer"): two})
    index.together("cer", lambda: {("a", "test", "cer"): three})  # done before
    index.write({"a"})
    again = Index.read(tmp_path / "index.npz", "v").entries
    assert set(again) == {("a", "test", metric) for metric in ("wer", "bleu", "cer")}
    assert again["a", "test", "bleu"] is None and again["a", "test", "cer"].parts.tolist() == [0, 1]
    assert again["a", "test", "wer"].parts.tolist() == [0, 1, 2] and again["a", "test", "wer"].by == "voices"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_read_all_the_same(tmp_path):
    index = Index(tmp_path / "index.npz", "v", {("a", "test", "wer"): None}, changed=True)
    tmp_path.chmod(0o500)
    index.write({"a"})
    tmp_path.chmod(0o700)
    assert not (tmp_path / "index.npz").exists()
