"""The data section, the notes below the table and the footer are counted from the records of stages, by hand."""

from __future__ import annotations

import json

from analysis.page.page import page
from analysis.records import audit
from analysis.records.audit import Split
from analysis.records.frame import read
from analysis.table import build

FEW = {"rows": ("scratch", "joint"), "tasks": ("asr",), "claims": {}, "table": {"columns": ["asr.wer"]}}
TABLES = {
    "asr.train": {
        "rows": 90,
        "hours": 1.5,
        "left_out": {"the same recording is in test": 3, "longer than 20 s": 7, "no text": 2},
        "shared": {"speakers": {"test": {"speakers": 4, "rows": 40}}, "ids": {"test": {"rows": 2}}},
    },
    "text.train": {"rows": 1000, "hours": 0.0, "left_out": {"the same text is in asr.test": 5}},
}
NOTES = [
    "Rows left out when the split was first made: "
    "3 of asr.train (the same recording is in test); 5 of text.train (the same text is in asr.test).",
    "Rows left out by a limit when the split was first made: 7 of 102 of asr.train (longer than 20 s).",
    "Speakers in two splits, kept: asr.train: 4 speakers, 40 of 90 rows, of asr.test.",
]


def sweep(fake):
    """A finished sweep whose first row reads two tables."""
    folder = fake(**FEW)
    root = folder.parents[1]
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        line["stages"]["tables"] = {name: f"{number:016}" for number, name in enumerate(TABLES)}
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for number, result in enumerate(TABLES.values()):
        path = root / "table" / "00" / f"{number:016}"
        path.mkdir(parents=True, exist_ok=True)
        (path / "result.json").write_text(json.dumps({"format": 2, **result}))
    return folder, root


def test_splits_and_what_was_removed(fake):
    records = read(sweep(fake)[0])
    splits = audit.splits(records)
    assert splits[0] == Split("asr.train", 90, 1.5, TABLES["asr.train"]["left_out"], TABLES["asr.train"]["shared"])
    assert [split.name for split in splits] == ["asr.train", "text.train"] and splits[0].whole == 102
    assert audit.removed(splits) == {"recording": 3, "text": 5} and splits[1].shared == {}
    assert audit.notes(records) == NOTES
    assert audit.row(splits[0]) == {
        "split": "asr.train",
        "rows": "90",
        "hours": "1.5",
        "left out": "12",
        "why": "3 the same recording is in test; 7 longer than 20 s; 2 no text",
        "kept, although in two splits": "4 speakers, 40 of 90 rows, of asr.test; 2 of 90 rows by id, of asr.test",
    }


def test_what_trainings_lost_is_told_with_their_rows(fake):
    folder, root = sweep(fake)
    one = {"where": "asr.train", "reason": "transcripts too long", "items": 3, "of": 90}
    for path in (root / "finetune").rglob("result.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "lost": [one]}))
    heard = {"where": "asr.test", "reason": "recordings are in asr.train", "items": 2, "of": 30}
    for path in (root / "score").rglob("result.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "heard": [heard]}))
    assert audit.notes(read(folder)) == [
        *NOTES,
        "Not learnt from by scratch, joint: asr.train: 3 of 90 transcripts too long.",
        "asr.test: 2 of 30 recordings are in asr.train.",
    ]
    assert all(note in build(read(folder)).caption for note in audit.notes(read(folder)))


def test_the_page_has_a_section_and_a_footer(fake):
    folder, _ = sweep(fake)
    html = page(build(read(folder)), [], None, [], [])
    assert '<h2 id="data">Data</h2>' in html and "<td>longer than 20 s" not in html
    assert "<td>3 the same recording is in test; 7 longer than 20 s; 2 no text</td>" in html
    assert "Left out because a dev or test split has them: 3 recordings and 5 texts.</footer>" in html
    plain = page(build(read(fake(name="plain", **FEW))), [], None, [], [])
    assert 'id="data"' not in plain and "dev or test split has them: nothing.</footer>" in plain
