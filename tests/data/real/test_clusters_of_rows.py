"""What test items of real corpora have in common: speaker and document in every layout that has them, and premises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from real_files import Made, ids, small, tsv, utterances

from ablate.data.real.layouts import covost, glue, registry
from ablate.data.real.made import RealSplit

SPLIT = RealSplit(digest="", rows=0)


def files(root: Path, **content: str) -> Path:
    for name, text in content.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def librispeech(root: Path) -> Path:
    return files(
        root,
        **{f"84/{n}/84-{n}-0.flac": "" for n in (1, 2)},
        **{f"84/{n}/84-{n}.trans.txt": f"84-{n}-0 A\n" for n in (1, 2)},
    )


def librilight(root: Path) -> Path:
    said = json.dumps({"voice_activity": [[0, 9], [9, 19]]})
    return files(root, **{"84/emma/one.flac": "", "84/emma/one.json": said})


def common_voice(root: Path) -> Path:
    files(root, **{"clips/a.mp3": "", "clips/b.mp3": ""})
    tsv(root / "test.tsv", "client_id\tpath\tsentence", "f00\ta.mp3\tyes", "ba4\tb.mp3\tno")
    return root / "test.tsv"


def fairseq(root: Path) -> Path:
    files(root, **{"84/a.flac": "", "85/b.flac": "", "c.flac": ""})
    tsv(root / "test.tsv", str(root), "84/a.flac\t1", "85/b.flac\t1", "c.flac\t1")
    return root / "test.tsv"


def lhotse(root: Path) -> Path:
    source = {"type": "file", "channels": [0], "source": "a.wav"}
    recording = {"id": "talk", "duration": 9.0, "sources": [source]}
    said = [{"id": n, "start": n, "duration": 1, "text": "a", **who} for n, who in enumerate(({"speaker": "ann"}, {}))]
    cut = {"id": "c", "start": 0, "duration": 9, "recording": recording, "supervisions": said}
    return files(root, **{"a.wav": "", "cuts.jsonl": json.dumps(cut) + "\n"}) / "cuts.jsonl"


def stm(root: Path) -> Path:
    lines = "talk 1 Ann 0 1 <o> a\ntalk 1 Ben 1 2 <o> b\nwalk 1 Ann 0 1 <o> c\n"
    return files(root, **{"talk.wav": "", "walk.wav": "", "all.stm": lines}) / "all.stm"


def kaldi(root: Path) -> Path:
    of = {"a.wav": "", "wav.scp": "r a.wav\n", "segments": "u1 r 0 1\nu2 r 1 2\n", "utt2spk": "u1 ann\nu2 ben\n"}
    return files(root, **of)


def whole(root: Path) -> Path:
    return files(root, **{"a.wav": "", "wav.scp": "u a.wav\n", "utt2spk": "u ann\n"})


def table(root: Path) -> Path:
    files(root, **{"a.wav": "", "b.wav": ""})
    tsv(root / "metadata.csv", "file_name,client_id", "a.wav,ann", "b.wav,")
    return root


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (librispeech, [{"speaker": "84", "document": "84-1"}, {"speaker": "84", "document": "84-2"}]),
        (librilight, [{"speaker": "84", "document": "84-emma"}] * 2),
        (common_voice, [{"speaker": "f00"}, {"speaker": "ba4"}]),
        (fairseq, [{"document": "84"}, {"document": "85"}, {}]),
        (lhotse, [{"speaker": "ann", "document": "talk"}, {"document": "talk"}]),
        (stm, [dict(zip(("speaker", "document"), of)) for of in (("Ann", "talk"), ("Ben", "talk"), ("Ann", "walk"))]),
        (kaldi, [{"speaker": "ann", "document": "r"}, {"speaker": "ben", "document": "r"}]),
        (whole, [{"speaker": "ann"}]),
        (table, [{"speaker": "ann"}, {"speaker": "b.wav"}]),  # by itself, whoever it is
    ],
)
def test_speaker_and_document_of_every_layout(make: Any, expected: list[dict], tmp_path: Path) -> None:
    assert SPLIT.clusters(list(registry.rows(make(tmp_path)))) == expected


def test_speakers_of_translations(tmp_path: Path) -> None:
    files(tmp_path, **{"fr/clips/a.mp3": ""})
    tsv(tmp_path / "covost_v2.fr_en.test.tsv", "path\tsentence\ttranslation\tclient_id", "a.mp3\toui\tyes\tf00")
    assert SPLIT.clusters(list(covost.covost(tmp_path, "fr", "en", "test"))) == [{"speaker": "f00"}]


def test_pairs_of_one_first_sentence_are_a_cluster(tmp_path: Path) -> None:
    pairs = ("A.\tB.\tentailment", "C.\tB.\tentailment", "A.\tD.\tnot_entailment")
    tsv(
        tmp_path / "RTE/dev.tsv",
        "index\tsentence1\tsentence2\tlabel",
        *(f"{n}\t{pair}" for n, pair in enumerate(pairs)),
    )
    assert SPLIT.clusters(list(glue.glue(tmp_path, "RTE", "dev"))) == [
        {"premise": "RTE-dev-2"},
        {"premise": "RTE-dev-3"},
        {"premise": "RTE-dev-2"},
    ]


def test_documents_are_written_for_what_is_scored_and_are_no_part_of_ids(root: Path, tmp_path: Path) -> None:
    """The same recordings in another chapter are the same split; training does not read documents."""
    made = Made(small(root), tmp_path / "made")
    (row,) = made.table("asr.test").rows
    assert row["document"] == "4-1" and made.config.split("asr", "test").config.clusters([row]) == [
        {"speaker": "4", "document": "4-1"}
    ]
    assert all("document" not in one for one in made.table("asr.train").rows)
    before, chapter = ids(small(root)), root / "LibriSpeech/test-clean/4"
    (chapter / "1").rename(chapter / "7")
    for path in (chapter / "7").iterdir():
        path.rename(path.with_name(path.name.replace("4-1", "4-7")))
    (text,) = (chapter / "7").glob("*.txt")
    text.write_text(text.read_text().replace("4-1", "4-7"))
    assert ids(small(root)) == before
    utterances(root, "test-clean", 4, "MORE")
    assert ids(small(root))["asr.test"] != before["asr.test"]
