"""Every layout of speech, fabricated in small, is known by its looks; its faults are named with file and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ablate.data import audio
from ablate.data.audio import Recording
from ablate.data.lines import Faults
from ablate.data.real.layouts import covost, registry
from ablate.errors import UserError


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def skipped(source: Path) -> tuple[list[str], list[str]]:
    """Ids of the rows that are left when faults are skipped, and the faults."""
    faults = Faults(skip=True, most=9, root=source.parent)
    return [row["id"] for row in registry.rows(source, faults)], faults.skipped


def chapter(folder: Path, speaker: int, *texts: str) -> None:
    names = [f"{speaker}-2-{number:04}" for number in range(len(texts))]
    touch(*(folder / f"{speaker}/2/{name}.flac" for name in names))
    write(folder / f"{speaker}/2/{speaker}-2.trans.txt", *(f"{name} {text}" for name, text in zip(names, texts)))


def test_librispeech(tmp_path: Path) -> None:
    chapter(tmp_path / "dev-clean", 84, "GO DO YOU HEAR", "BUT IN LESS")
    chapter(tmp_path / "dev-clean", 101, "YES")
    rows = list(registry.rows(tmp_path / "dev-clean"))
    assert [(r["id"], r["text"], r["voice"]) for r in rows] == [
        ("101-2-0000", "YES", "101"),
        ("84-2-0000", "GO DO YOU HEAR", "84"),
        ("84-2-0001", "BUT IN LESS", "84"),
    ]
    assert rows[1]["recording"] == Recording(tmp_path / "dev-clean/84/2/84-2-0000.flac")


def test_librispeech_faults(tmp_path: Path) -> None:
    folder = tmp_path / "dev-clean"
    touch(folder / "1/2/1-2-0000.flac")
    with pytest.raises(UserError, match="1-2.trans.txt: there is no such file"):
        list(registry.rows(folder))
    write(folder / "1/2/1-2.trans.txt", "1-2-0000 A", "1-2-0001 B")
    with pytest.raises(UserError, match=r"1-2.trans.txt, line 2: '1-2-0001' has a transcript but no recording"):
        list(registry.rows(folder))
    touch(folder / "1/2/1-2-0002.flac")
    missing = "dev-clean/1/2/1-2.trans.txt, line 2: '1-2-0001' has a transcript but no recording beside it."
    assert skipped(folder) == (["1-2-0000"], [missing])  # what no transcript lists does not count
    with pytest.raises(UserError, match="no such file or folder; did you mean 'dev-clean'"):
        registry.rows(tmp_path / "dev-claen")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match="empty: has no known layout; expected a WebDataset .tar .* a LibriSpeech folder, .* or "
    ):
        registry.rows(tmp_path / "empty")


def test_limited_supervision_of_libri_light(tmp_path: Path) -> None:
    folder = tmp_path / "librispeech_finetuning"
    for number in range(6):
        chapter(folder / f"1h/{number}/clean", 10 + number, "A")
        chapter(folder / f"1h/{number}/other", 20 + number, "B")
    chapter(folder / "9h/clean", 30, "C", "D")
    chapter(folder / "9h/other", 31, "E")
    ids = {amount: [row["id"] for row in registry.rows(folder / amount)] for amount in ("10min", "1h", "10h")}
    assert ids["10min"] == ["10-2-0000", "20-2-0000"]
    assert len(ids["1h"]) == 12 and ids["10h"] == [*ids["1h"], "30-2-0000", "30-2-0001", "31-2-0000"]


def test_libri_light_is_cut_at_pauses(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    touch(folder / "7/book/one.flac", folder / "7/book/two.flac", folder / "8/book/three.flac")
    write(folder / "7/book/one.json", json.dumps({"voice_activity": [[0.5, 6], [7, 15.5], [16, 20], [22, 62]]}))
    write(folder / "7/book/two.json", "{}")
    ids, faults = skipped(folder)
    assert ids == [f"7-book-one-{n:04}" for n in range(5)]
    for times in ([[5, 2]], [[float("nan"), 2]]):
        write(folder / "7/book/two.json", json.dumps({"voice_activity": times}))
        assert "two.json: has no times of speech" in skipped(folder)[1][0]
    write(folder / "7/book/two.json", json.dumps({"voice_activity": []}))
    known = Faults(skip=True, most=9, root=tmp_path)
    assert len(list(registry.rows(folder, known))) == 5 and known.known == {"small: recordings without speech": 1}
    assert "two.json: has no times of speech" in faults[0] and "three.flac: has no three.json beside it" in faults[1]
    (folder / "7/book/two.flac").unlink(), (folder / "8/book/three.flac").unlink()
    parts = [(row["recording"].start, row["recording"].stop) for row in registry.rows(folder)]
    assert parts == [(0.5, 15.5), (16, 20), (22, 35.333), (35.333, 48.667), (48.667, 62)]
    assert all("text" not in row and row["voice"] == "7" for row in registry.rows(folder))


def test_common_voice(tmp_path: Path) -> None:
    touch(tmp_path / "en/clips/a.mp3")
    table = write(tmp_path / "en/dev.tsv", "client_id\tpath\tsentence\tage", 'ann\ta.mp3\tShe said "go.\t')
    row = {"id": "a", "text": 'She said "go.', "recording": Recording(tmp_path / "en/clips/a.mp3"), "voice": "ann"}
    assert list(registry.rows(table)) == [row]
    write(table, "client_id\tpath\tsentence", "ann\tb.mp3\tNo.", "ann\ta.mp3\tYes.", "", "ann\ta.mp3")
    ids, faults = skipped(table)
    assert ids == ["a"] and "dev.tsv, line 2: the recording " in faults[0] and "b.mp3 does not exist." in faults[0]
    assert faults[1] == "dev.tsv, line 5: has 2 columns, expected 3."
    write(table, "client_id\tpath\ttext", "ann\ta.mp3\tNo.")
    with pytest.raises(UserError, match="dev.tsv, line 1: has no column 'sentence'; its columns are client_id, path"):
        list(registry.rows(table))


def test_covost(tmp_path: Path) -> None:
    touch(tmp_path / "fr" / "clips" / "a.mp3")
    write(tmp_path / "covost_v2.fr_en.dev.tsv", "path\tsentence\ttranslation\tclient_id", "a.mp3\tOui.\tYes.\tann")
    (row,) = covost.covost(tmp_path, "fr", "en", "dev")
    assert (row["id"], row["text"], row["translation"], row["voice"]) == ("a", "Oui.", "Yes.", "ann")
    with pytest.raises(UserError, match="covost_v2.fr_de.dev.tsv: there is no such file"):
        list(covost.covost(tmp_path, "fr", "de", "dev"))


def test_fairseq(tmp_path: Path) -> None:
    touch(tmp_path / "wavs/9/a.flac", tmp_path / "wavs/9/b.flac")
    manifest = write(tmp_path / "train.tsv", str(tmp_path / "wavs"), "9/a.flac\t16000", "9/b.flac\t8000")
    (first, _) = rows = list(registry.rows(manifest))
    recording = Recording(tmp_path / "wavs/9/a.flac")
    expected = {"id": "9/a", "voice": "9", "document": "9", "recording": recording, "stated": 16000}
    assert first == expected and len(rows) == 2
    write(tmp_path / "train.ltr", "H I | Y O U |", "N O |")
    assert [row["text"] for row in registry.rows(manifest)] == ["HI YOU", "NO"]
    write(tmp_path / "train.wrd", "HI YOU")
    ids, faults = skipped(manifest)
    assert ids == ["9/a"] and faults == ["train.wrd, line 2: has no transcript of '9/b.flac' (train.tsv, line 3)."]
    write(tmp_path / "train.wrd", "", "NO", "MORE")  # the first is missing, the last belongs to nothing
    ids, faults = skipped(manifest)
    assert ids == ["9/b"] and faults == [
        "train.wrd, line 1: has no transcript of '9/a.flac' (train.tsv, line 2).",
        "train.wrd, line 3: has a transcript but no recording in train.tsv.",
    ]
    (tmp_path / "wavs/9/b.flac").rename(tmp_path / "wavs/9/c.flac")
    assert len(skipped(manifest)[1]) == 3  # a recording that is gone is one fault, not two
    (tmp_path / "wavs/9/c.flac").rename(tmp_path / "wavs/9/b.flac")
    (tmp_path / "wavs/9/a.flac").unlink()
    with pytest.raises(UserError, match="train.tsv, line 2: the recording .*a.flac does not exist"):
        list(registry.rows(manifest))


def test_stm(tmp_path: Path) -> None:
    touch(tmp_path / "train/sph/talk.sph")
    write(
        tmp_path / "train/stm/talk.stm",
        ";; comment",
        "talk 1 Ann 1.5 4.25 <o,f0,female> hello there",
        "talk 1 inter 4.25 9 <o,,unknown> ignore_time_segment_in_scoring",
        "talk 2 Ben 9.00 10.00 yes",
        "talk 2 Cid 9.00 10.00 no",
    )
    first, second, third = registry.rows(tmp_path / "train")
    recording = tmp_path / "train/sph/talk.sph"
    assert first == {
        "id": "talk-1-1.50-4.25",
        "text": "hello there",
        "voice": "Ann",
        "document": "talk",
        "recording": Recording(recording, 1.5, 4.25, 0),
    }
    assert (second["text"], second["recording"].channel) == ("yes", 1)
    assert (second["id"], third["id"]) == ("talk-2-9.00-10.00", "talk-2-9.00-10.00-2")  # at once, and two rows
    lines = ("talk 1 Ann one 2 no", "talk 1 Ann nan 2 no", "talk 1 Ann 2 1 no", "walk 1 Ann 1 2 no")
    path = write(tmp_path / "train/stm/talk.stm", *lines)
    assert skipped(path)[1] == [
        *(
            f"talk.stm, line {n}: expected FILE CHANNEL SPEAKER START STOP WORDS, with times in seconds and channels "
            f"1, 2, … or A, B; found '{' '.join(line.split()[:5])}'."
            for n, line in enumerate(lines[:3], 1)
        ),
        "talk.stm, line 4: there is no recording 'walk' here or in a folder beside this one.",
    ]


STM = {
    "talk 1 ann 0 1 <o> so (%hesitation) we %UH go": "so we go",
    "talk 1 ann 0 1 <o> IGNORE_TIME_SEGMENT_IN_SCORING": None,
    "talk 1 ann 0 1 well Ignore_Time_Segment_In_Scoring .": None,
    "talk 1 ann 0 1 {COUGH} i { can not / cannot } { uh / @ } go {NOISE}": "i can not uh go",
    "talk 1 ann 0 1 { @ / uh } 100 % (sure)": "100 % (sure)",
    "talk 1 ann 0 1 <o> (%hesitation)": "",
    "talk 1 gap 0 1": "",
}


@pytest.mark.parametrize("line", STM)
def test_marks_of_stm(tmp_path: Path, line: str) -> None:
    touch(tmp_path / "talk.sph")
    path = write(tmp_path / "talk.stm", line)
    assert [row["text"] for row in registry.rows(path)] == ([] if STM[line] is None else [STM[line]])


def test_channels_of_stm(tmp_path: Path) -> None:
    touch(tmp_path / "talk.sph")
    lines = [f"talk {channel} ann {n} {n + 1} yes" for n, channel in enumerate(("A", "B", "b", "2"))]
    path = write(tmp_path / "talk.stm", *lines)
    assert [row["recording"].channel for row in registry.rows(path)] == [0, 1, 1, 1]
    assert [row["id"] for row in registry.rows(path)][0] == "talk-1-0.00-1.00"
    write(path, "talk 0 ann 0 1 no", "talk left ann 0 1 no", "talk -1 ann 0 1 no")
    assert skipped(path)[1] == [
        f"talk.stm, line {n}: the channel is '{given}', expected a number from 1 or a letter from A."
        for n, given in enumerate(("0", "left", "-1"), 1)
    ]


def test_utterances_of_lhotse_that_are_not_to_be_scored(tmp_path: Path) -> None:
    made = cut()
    made["supervisions"][0]["text"] = "<o> ignore_time_segment_in_scoring"
    touch(tmp_path / "audio/rec.wav")
    path = write(tmp_path / "cuts.jsonl", json.dumps(made))
    assert len(list(registry.rows(path))) == len(made["supervisions"]) - 1


def cut(**fields: object) -> dict:
    """A cut as lhotse writes it."""
    recording = {
        "id": "rec",
        "sources": [{"type": "file", "channels": [0, 1], "source": "audio/rec.wav"}],
        "sampling_rate": 8000,
        "num_samples": 80000,
        "duration": 10.0,
        "channel_ids": [0, 1],
    }
    said = [
        {
            "id": "u1",
            "recording_id": "rec",
            "start": 0.5,
            "duration": 1.0,
            "channel": 1,
            "text": " yes ",
            "speaker": "ann",
        },
        {"id": "u2", "recording_id": "rec", "start": 2.0, "duration": 0.5, "channel": 0, "text": "no"},
    ]
    return {
        "id": "c",
        "start": 3.0,
        "duration": 4.0,
        "channel": [0, 1],
        "supervisions": said,
        "recording": recording,
        "type": "MultiCut",
        **fields,
    }


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_lhotse_cuts(tmp_path: Path, name: str) -> None:
    """Times of supervisions count from the beginning of their cut."""
    rng, path = np.random.default_rng(0), tmp_path / "manifests" / name
    wave = rng.uniform(-0.5, 0.5, (80_000, 2)).astype(np.float32)
    (tmp_path / "audio").mkdir(), path.parent.mkdir()
    soundfile.write(tmp_path / "audio/rec.wav", wave, 8000, subtype="FLOAT")
    silent = cut(id="whole", supervisions=[], start=0.0, duration=10.0, channel=0)
    packed = "".join(json.dumps(one) + "\n" for one in (cut(), silent)).encode()
    path.write_bytes(gzip.compress(packed) if name.endswith("gz") else packed)
    first, second, whole = registry.rows(path)
    assert {k: first[k] for k in ("id", "text", "voice")} == {"id": "u1", "text": "yes", "voice": "ann"}
    np.testing.assert_array_equal(audio.read(first["recording"], 8000), wave[28_000:36_000, 1])
    np.testing.assert_array_equal(audio.read(second["recording"], 8000), wave[40_000:44_000, 0])
    recording = Recording(tmp_path / "audio/rec.wav", channel=0)
    assert whole == {"id": "whole", "voice": "rec", "document": "rec", "recording": recording, "stated": 80_000}


def test_an_utterance_in_two_cuts_is_read_whole_and_once(tmp_path: Path) -> None:
    touch(tmp_path / "audio/rec.wav")
    said = {"id": "u", "duration": 2.0, "channel": 0, "text": "yes"}
    cuts = [
        cut(id="1", start=0.0, supervisions=[{**said, "start": 3.0}]),
        cut(id="2", start=4.0, supervisions=[{**said, "start": -1.0}]),
    ]
    faults, path = Faults(root=tmp_path), write(tmp_path / "cuts.jsonl", *map(json.dumps, cuts))
    (row,) = registry.rows(path, faults)
    assert row["recording"] == Recording(tmp_path / "audio/rec.wav", 3.0, 5.0, 0)
    assert faults.known == {"cuts.jsonl: utterances that begin before their cut": 1}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"start": None}, "TypeError"),
        ({"supervisions": [{"id": "u", "duration": 1.0}]}, "KeyError: 'start'"),
        ({"supervisions": "u"}, "TypeError"),
        ({"recording": {"id": "rec", "sources": None, "duration": 10.0}}, "TypeError"),
        (
            {"recording": {"id": "rec", "sources": [{"type": "file", "channels": [0, 1]}], "duration": 9}},
            "KeyError: 'source'",
        ),
    ],
)
def test_a_cut_that_lacks_something_is_named_with_its_line(tmp_path: Path, fields: dict, why: str) -> None:
    touch(tmp_path / "audio/rec.wav")
    other = cut(supervisions=[{**one, "id": f"other {one['id']}"} for one in cut()["supervisions"]])
    ids, faults = skipped(write(tmp_path / "cuts.jsonl", *map(json.dumps, (cut(), cut(**fields), other))))
    assert ids == ["u1", "u2", "other u1", "other u2"]
    (fault,) = faults
    assert fault.startswith("cuts.jsonl, line 2: cut 'c' is not as lhotse writes it") and why in fault


def test_cuts_that_only_lhotse_can_compute_are_refused(tmp_path: Path) -> None:
    recording = cut()["recording"]
    address = {**recording, "sources": [{"type": "url", "channels": [0], "source": "somewhere"}]}
    cuts = [
        cut(type="MixedCut"),
        cut(recording=None),
        cut(recording={**recording, "transforms": [{"name": "Speed"}]}),
        cut(recording=address),
        cut(),
    ]
    ids, faults = skipped(write(tmp_path / "cuts.jsonl", *map(json.dumps, cuts)))
    assert ids == []
    expected = [
        (1, "is a MixedCut, expected a MonoCut or MultiCut"),
        (2, "has no recording"),
        (3, "has a recording with transforms"),
        (4, "recording 'rec' has no file with channel 1"),
        (4, "recording 'rec' has no file with channel 0"),
        (5, "audio/rec.wav does not exist"),
    ]
    for fault, (number, part) in zip(faults, expected):
        assert fault.startswith(f"cuts.jsonl, line {number}: ") and part in fault
