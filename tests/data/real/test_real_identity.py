"""Real data are their content: what changes the id of a split, and what does not; and further test splits."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from real_files import Made, ids, small, tsv, utterances

from ablate.data.real import scan
from ablate.data.real.canonical import Held
from ablate.data.real.layouts import folders, registry, text
from ablate.data.table import Table
from ablate.errors import UserError
from ablate.store import identity
from ablate.store.kept import Kept
from ablate.sweepfile.load import override
from ablate.sweepfile.typed import typed


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Splits that are others; none may be gone."""
    assert before.keys() <= after.keys()
    return {name for name in before if before[name] != after[name]}


LEFT = (
    ".DS_Store",
    "._1-1-0000.flac",
    ".nfs0000",
    ".1-1.trans.txt.swp",
    "1-1-0000.flac~",
    "#1-1-0000.flac#",
    "Thumbs.db",
    "desktop.ini",
)


def left_behind(root: Path) -> None:
    """What file managers, file systems and editors leave, at every depth."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for name in LEFT:
            (folder / name).write_bytes(b"\0\5\x16\7")
        for name in ("__MACOSX", ".ipynb_checkpoints"):
            (folder / name / "1").mkdir(parents=True)
            (folder / name / "1" / "1-1-0000.flac").write_bytes(b"\0\5\x16\7")
            (folder / name / "1" / "x.stm").write_bytes(b"\0\5\x16\7")


def touched(root: Path) -> None:
    for path in root.rglob("*"):
        os.utime(path, ns=(1, 10**18))


def copied(root: Path) -> None:
    shutil.copytree(root, root.with_name("copy"))
    shutil.rmtree(root)
    root.with_name("copy").rename(root)


def a_clip_nobody_lists(root: Path) -> None:
    soundfile.write(
        root / "LibriSpeech/dev-clean/unlisted.flac", np.random.default_rng(0).normal(size=16_000) * 0.1, 16_000
    )


def an_unused_corpus(root: Path) -> None:
    tsv(root / "glue/CoLA/train.tsv", *(f"gj04\t1\t*\tnew {n}" for n in range(20)))


@pytest.mark.parametrize("change", [left_behind, touched, copied, a_clip_nobody_lists, an_unused_corpus])
def test_what_alters_no_data_alters_no_split(root: Path, change: Callable[[Path], None]) -> None:
    before = ids(small(root))
    assert len(before) == 21 and all("root" not in form for forms in before.values() for form in forms)
    change(root)
    assert not changed(before, ids(small(root)))


def test_where_data_lie_does_not_count(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids(small(root))
    speech = (str(root / "LibriSpeech/train-clean"), "./LibriSpeech/train-lj/")
    assert ids(small(root, speech=speech, asr=("text/../LibriSpeech/train-clean", "LibriSpeech/train-lj"))) == before
    monkeypatch.chdir(tmp_path)
    assert ids(small(Path("data"))) == ids(small(Path("./data/"))) == before
    (tmp_path / "link").symlink_to(root)
    assert ids(small(tmp_path / "link")) == before
    shutil.move(root, tmp_path / "disk")
    assert ids(small(tmp_path / "disk")) == before


def test_what_alters_data_alters_the_splits_that_hold_them(root: Path) -> None:
    before = ids(small(root))
    lines = root / "text" / "librispeech_lm.txt"
    lines.write_text(lines.read_text().replace("LINE  7", "LIME  7"))  # the same size
    after = ids(small(root))
    assert changed(before, after) <= {"text.train", "text.dev"} and changed(before, after)
    utterances(root, "train-clean", 9, "MORE")
    assert changed(after, ids(small(root))) == {"speech.train", "pairs.train", "asr.train"}
    before = ids(small(root))
    path = root / "LibriSpeech/train-lj/2/1/2-1.trans.txt"
    path.write_text(path.read_text().replace("LONG", "SHORT"))
    assert ids(small(root))["asr.train"] == before["asr.train"]  # a recording that is too long for it
    assert not changed(before, ids(small(root)))  # and of speech nothing reads the text
    later = ids(small(root, max_seconds=20.0))
    assert changed(before, later) == {"asr.train"}
    assert changed(later, ids(small(root, max_seconds=30.0))) == set()  # it drops nothing
    assert changed(before, ids(small(root, labels=15))) == {"sentiment.train", "sentence_pair.train"}
    assert changed(before, ids(small(root, glue=("glue/RTE",)))) == set()
    spoken_ = {name for name, forms in before.items() if len(forms) > 1}
    assert changed(before, ids(small(root, normalisation="level"))) == spoken_


def test_voices_count_by_who_shares_one_where_they_are_read(root: Path) -> None:
    utterances(root, "test-clean", 6, "SIX TEXT", seconds=1.5)
    utterances(root, "train-clean", 7, "SEVEN TEXT")
    before, speaker = ids(small(root)), ids(small(root, normalisation="speaker"))
    for old, new in ((6, 66), (7, 77)):
        for subset in ("test-clean", "train-clean"):
            folder = root / "LibriSpeech" / subset
            if (folder / str(old)).exists():
                utterances_renamed(folder, str(old), str(new))
    assert ids(small(root)) == before and ids(small(root, normalisation="speaker")) == speaker  # called otherwise
    for subset, new, old in (("test-clean", "66", "4"), ("train-clean", "77", "1")):
        folder = root / "LibriSpeech" / subset
        (folder / new / "1").rename(folder / new / "2")
        utterances_renamed(folder, new, old, chapter="2")
    assert changed(before, ids(small(root))) == {"asr.test", "retrieval.test"}  # in training nothing asks who speaks
    altered = changed(speaker, ids(small(root, normalisation="speaker")))
    assert altered == {"asr.test", "retrieval.test", "speech.train", "pairs.train", "asr.train"}


def utterances_renamed(folder: Path, old: str, new: str, chapter: str = "1") -> None:
    """Give a speaker's chapter to another speaker."""
    (folder / new).mkdir(exist_ok=True)
    (folder / old / chapter).rename(folder / new / chapter)
    (listed,) = (folder / new / chapter).glob("*.trans.txt")
    listed.rename(listed.with_name(f"{new}-{chapter}.trans.txt"))


def test_the_canonical_order_of_equal_rows_is_by_their_voices() -> None:
    """However they are listed and whatever voices are called: rows x of both voices, y of one and z of the other."""
    x, y, z = (bytes([n]) * 16 for n in (1, 2, 3))
    digests = set()
    for said in ([(x, "a"), (x, "b"), (y, "a"), (z, "b")], [(z, "ann"), (x, "ann"), (y, "ben"), (x, "ben")]):
        held = Held(True)
        for one in said:
            held.add(*one)
        digest, order = held.canonical()
        assert [said[i][0] for i in order] == [x, x, y, z]
        digests.add(digest)
    assert len(digests) == 1
    held = Held(True)
    for one in ((x, "a"), (x, "b"), (y, "a"), (z, "a")):
        held.add(*one)
    assert held.canonical()[0] not in digests


def manifests(root: Path) -> dict[str, str]:
    """Manifests over LibriSpeech/train-clean: fairseq's, lhotse's and an STM."""
    base, words, cuts, names, segments = root / "LibriSpeech/train-clean", [], [], [], []
    for row in registry.rows(base):
        path = row["recording"].path
        samples = soundfile.info(path).frames
        names.append(f"{path.relative_to(base)}\t{samples}")
        words.append(row["text"])
        one = {"id": row["id"], "start": 0, "duration": samples / 16_000, "channel": 0}
        source = {"type": "file", "channels": [0], "source": str(path.relative_to(root))}
        recording = {**one, "sources": [source], "sampling_rate": 16_000, "num_samples": samples}
        said = {**one, "text": row["text"], "speaker": f"s{row['voice']}"}
        cuts.append(json.dumps({**one, "type": "MonoCut", "supervisions": [said], "recording": recording}))
        segments.append(f"{path.stem} 1 s{row['voice']} 0.00 {samples / 16_000:.2f} <o,f0,> {row['text']}")
    tsv(root / "m/train.tsv", str(base), *reversed(names))
    tsv(root / "m/train.wrd", *reversed(words))
    tsv(root / "m/cuts.jsonl", *cuts)
    tsv(root / "LibriSpeech/train-clean/1/1.stm", *segments)
    return {"fairseq": "m/train.tsv", "lhotse": "m/cuts.jsonl", "stm": "LibriSpeech/train-clean/1/1.stm"}


@pytest.mark.parametrize("kind", ["folder", "fairseq", "lhotse", "stm"])
def test_a_manifest_is_what_it_names(root: Path, tmp_path: Path, kind: str) -> None:
    """The same id as the folder's, and another when audio is replaced behind an unchanged manifest."""
    folder = "LibriSpeech/train-clean"
    names = "speech.train", "pairs.train", "asr.train"
    before = ids(small(root, speech=(folder,), pairs=(folder,), asr=(folder,)), *names)
    source = {"folder": folder, **manifests(root)}[kind]
    config = small(root, speech=(source,), pairs=(source,), asr=(source,))
    assert ids(config, *names) == before
    table = Made(config, tmp_path / "out").table("asr.train")
    assert sorted(row["text"] for row in table.rows) == ["one two", "two three"] and len(table.mel(0)) == 98
    for path in (root / folder).rglob("*.flac"):
        wave, rate = soundfile.read(path)
        soundfile.write(path, wave[: len(wave) // 2], rate)
    if kind != "stm":  # whose segments reach beyond the recordings now
        assert changed(before, ids(config, *names)) == set(names)
        return
    with pytest.raises(UserError, match="the file ends at 0.50 s, before the segment does"):
        ids(config, *names)


def test_a_flac_is_what_it_sounds_like_and_other_audio_its_bytes(root: Path) -> None:
    path = root / "LibriSpeech/dev-clean/3/1/3-1-0000.flac"
    before = ids(small(root), "speech.dev", "asr.dev")
    raw = path.read_bytes()
    tags = 42 + 4 + int.from_bytes(raw[43:46], "big")
    path.write_bytes(raw[:4] + bytes([raw[4] & 0x7F]) + raw[5:42] + b"\x81\0\0\4" + bytes(4) + raw[tags:])
    assert soundfile.info(path).frames == 16_000 and path.stat().st_size != len(raw)  # a tag was taken off
    assert ids(small(root), "speech.dev", "asr.dev") == before
    wave, _ = soundfile.read(path, dtype="int16")
    wave[77] += 1
    soundfile.write(path, wave, 16_000)
    assert changed(before, ids(small(root), "speech.dev", "asr.dev")) == {"speech.dev", "asr.dev"}
    soundfile.write(path.with_suffix(".wav"), wave, 16_000)
    path.unlink()
    before = ids(small(root), "asr.dev")
    data = bytearray(path.with_suffix(".wav").read_bytes())
    data[-1] ^= 1
    path.with_suffix(".wav").write_bytes(data)
    assert changed(before, ids(small(root), "asr.dev"))


def test_a_file_is_looked_into_once_until_it_is_touched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    sound = scan._sound
    monkeypatch.setattr(scan, "_sound", lambda file: looked.append(file.path.name) or sound(file))
    before = ids(small(root))
    assert len(looked) == len(set(looked)) == 7
    looked.clear()
    assert ids(small(root)) == before and not looked
    os.utime(root / "LibriSpeech/dev-clean/3/1/3-1-0000.flac", ns=(1, 10**18))
    assert ids(small(root)) == before and looked == ["3-1-0000.flac"]


def test_texts_are_parsed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ids(small(root), "text.train", "text.dev", "sentiment.train")
    monkeypatch.setattr(text.Lines, "rows", None)  # to parse them again would fail
    assert ids(small(root), "text.train", "text.dev", "sentiment.train") == before
    monkeypatch.setattr(scan, "LARGE", 0)  # now their hashes are kept as well
    assert ids(small(root), "text.train") == {"text.train": before["text.train"]}
    monkeypatch.setattr(scan.files, "digest", None)
    assert ids(small(root), "text.train") == {"text.train": before["text.train"]}


def test_a_further_test_set_alters_only_what_overlaps(root: Path, tmp_path: Path) -> None:
    before = ids(small(root))
    utterances(root, "test-far", 11, "FAR AWAY", "FURTHER")
    tests = {"asr.test_far": "LibriSpeech/test-far"}
    after = ids(small(root, tests=tests))
    assert not changed(before, after) and set(after) - set(before) == {"asr.test_far"}
    utterances(root, "test-far", 11, "LINE 1", "LINE 2", "LINE 3", "LINE 4", "FURTHER")
    overlapping = small(root, tests=tests).resolved()
    held = {row["text"] for row in Made(small(root), tmp_path / "held").table("text.dev").rows}
    known = [f"line {n}" for n in range(1, 5) if f"line {n}" not in held]
    assert changed(before, ids(overlapping)) == {"text.train"}
    note = f"text.train: {len(known)} lines are left out because asr.test_far has them, the first: "
    (told,) = [one for one in overlapping.split("text", "train").notes if "asr.test_far" in one]
    assert told == note + ", ".join(f"'{line}'" for line in known[:3]) + "."
    made = Made(small(root, tests=tests), tmp_path / "out")
    assert made.rows("asr.test_far") == {"asr.test_far": 5}
    assert not {"line 1", "line 2"} & {row["text"] for row in made.table("text.train").rows}


def test_further_tests_of_every_kind_of_table(root: Path, tmp_path: Path) -> None:
    clips = root / "digits/clips"
    clips.mkdir(parents=True)
    for n in range(4):
        soundfile.write(clips / f"{n}.wav", np.random.default_rng(n).normal(size=8000) * 0.1, 8000)
    for number, split in enumerate(("train", "dev", "test", "other")):
        tsv(root / f"digits/{split}.tsv", "client_id\tpath\tsentence", f"ann\t{number}.wav\t{split}")
    tsv(root / "imdb.tsv", "sentence\tlabel", "film 3\t1", "so so\t0")
    tsv(root / "said.tsv", "written\tspoken", "$1\tone dollar", "$7\tseven dollars")
    tsv(root / "more.txt", "LINE 3", "line new")
    tests = {
        "digits.test_other": "digits/other.tsv",
        "sst2.test_imdb": "imdb.tsv",
        "sentiment.test_imdb": "imdb.tsv",
        "normalization.test_said": "said.tsv",
        "text.test_more": "more.txt",
        "retrieval.test_other": "LibriSpeech/test-other",
        "speech.test": "LibriSpeech/test-other",
        "pairs.test_x": "LibriSpeech/test-other",
    }
    plain = small(root, digits="digits", glue=("glue/SST-2",))
    made = Made(small(root, digits="digits", glue=("glue/SST-2",), tests=tests), tmp_path / "out")
    assert list(made.rows(*tests).values()) == [1, 2, 2, 2, 2, 1, 1, 1]
    assert [row["text"] for row in made.table("digits.test_other").rows] == ["other"]
    (row,) = [row for row in made.table("sst2.test_imdb").rows if row["text"] == "so so"]
    assert row == {"id": "SST-2-imdb-3", "text": "so so", "label": "negative"}
    names = [f"{table}.{split}" for table in ("sst2", "sentiment", "text") for split in ("train", "dev")]
    altered = changed(ids(plain, *names), ids(made.config, *names))
    assert len(altered) == 3 and {name.partition(".")[0] for name in altered} == {"sst2", "sentiment", "text"}
    for table in ("sst2", "sentiment", "text"):
        rows = [row["text"] for split in ("train", "dev") for row in made.table(f"{table}.{split}").rows]
        assert "film 3" not in rows and "line 3" not in rows
    with pytest.raises(UserError, match=r"No row of normalization.train can be used \(.*the same text is in test_said"):
        made.config.split("normalization", "train")


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [
        ("asr.far", "LibriSpeech/test-other", "expected TABLE.test_NAME: write 'asr.test_far'"),
        ("asr", "LibriSpeech/test-other", "expected TABLE.test_NAME: write 'asr.test_NAME'"),
        ("asr.test", "LibriSpeech/test-other", "which is there already; give it another name"),
        ("sentimant.test_x", "glue/SST-2/dev.tsv", "the data have no table 'sentimant': did you mean 'sentiment'?"),
        ("asr.test_x", "LibriSpeech/test-othr", r"lacks data.tests.asr.test_x \(LibriSpeech/test-othr\)"),
        ("sentiment.test_x", "imdb.tsv", r"lacks data.tests.sentiment.test_x \(imdb.tsv\)"),
    ],
)
def test_further_tests_that_cannot_be(root: Path, name: str, path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(root, tests={name: path}).resolved().need([tuple(name.split("."))])


def test_several_corpora_with_a_test_set_each(root: Path, tmp_path: Path) -> None:
    names = sorted((root / "LibriSpeech/train-clean").rglob("*.flac"))
    tsv(root / "other.tsv", str(root), *(f"{path.relative_to(root)}\t16000" for path in names))
    tsv(root / "other.wrd", "Three Four", "Five")
    tests = {"speechstew.test_clean": "LibriSpeech/test-clean", "speechstew.test_other": "LibriSpeech/test-other"}
    made = Made(small(root, speechstew=("LibriSpeech/train-clean", "other.tsv"), tests=tests), tmp_path / "out")
    sizes = {split: made.result(f"speechstew.{split}")["rows"] for split in made.config.tables()["speechstew"]}
    assert sizes == {"train": 4, "dev": 1, "test_clean": 1, "test_other": 1}
    texts = [row["text"] for row in made.table("speechstew.train").rows]
    assert sorted(texts) == ["five", "one two", "three four", "two three"]
    assert len(made.config.split("speechstew", "train").recordings) == 1  # both sources have the same


def test_names_of_leftovers() -> None:
    kept = ("1-1.flac", "output-00001-of-00100", "a~b", "#1", "x.trans.txt", "Thumbs")
    assert all(map(folders.leftover, (*LEFT, "__MACOSX", ".ipynb_checkpoints"))) and not any(
        map(folders.leftover, kept)
    )


def test_shards_and_segments_among_leftovers(root: Path) -> None:
    for number in range(20):
        tsv(root / f"google/output-{number:05}-of-00020", f"PLAIN\tw{number}\t<self>", "<eos>\t<eos>")
    (root / "talks/sph").mkdir(parents=True)
    for n in range(2):
        soundfile.write(root / f"talks/sph/talk{n}.v1.wav", np.random.default_rng(n).normal(size=16_000) * 0.1, 16_000)
        tsv(root / f"talks/stm/talk{n}.stm", f"talk{n} 1 ann 0.10 0.60 hello {n}")
    config = small(root, normalization="google", asr=("talks",))
    names = "normalization.train", "normalization.dev", "normalization.test", "asr.train"
    before = ids(config, *names)
    assert before["asr.train"][0]["rows"] == 2
    left_behind(root)
    for name in ("output-00003-of-00020~", "._output-00003-of-00020", ".output-00003-of-00020.swp"):
        (root / "google" / name).write_bytes(b"\0")
    assert ids(config, *names) == before


@pytest.mark.slow
def test_recordings_that_are_read_on_the_fly_are_found_where_they_lie_now(root: Path, tmp_path: Path) -> None:
    made = Made(small(root, features="read", pairs=("LibriSpeech/train-clean",)), tmp_path / "made")
    table = made.table("pairs.train")
    expected = [table.mel(index) for index in range(len(table))]
    (root / "below").mkdir()
    (root / "LibriSpeech/train-clean").rename(root / "below/here")
    now = small(root, features="read", **dict.fromkeys(("speech", "pairs", "asr"), ("below/here",))).resolved()
    split = now.split("pairs", "train")
    assert identity.canonical(split.config) == identity.canonical(made.config.split("pairs", "train").config)

    def opened() -> Table:
        opened = [config.open(made.decoded[config.recordings].files) for config in split.recordings]
        return Table(made.runs["pairs.train"].files, "pairs.train", opened)

    for at in range(2):  # also where something else of the same length lies at the old place by now
        again = pickle.loads(pickle.dumps(opened()))
        assert all((again.mel(index) == mel).all() for index, mel in enumerate(expected)), at
        utterances(root, "train-clean", 1, "ONE TWO", "TWO THREE", seed=77)
    shutil.rmtree(root / "below/here/1")
    (root / "below/here/7/1").mkdir(parents=True)
    shutil.copy(root / "LibriSpeech/train-lj/2/1/2-1-0000.flac", root / "below/here/7/1/7-1-0000.flac")
    (root / "below/here/7/1/7-1.trans.txt").write_text("7-1-0000 OTHER\n")
    with pytest.raises(UserError, match="is missing or has changed, and .*has no recording with the same audio"):
        opened().mel(0)


STOPPED = """
import sys
from real_files import Run, small
class Told(Run):
    def check(self):
        raise KeyboardInterrupt
(config,) = small(sys.argv[1], speech=("LibriSpeech/train-many",)).resolved().split("speech", "train").recordings
config.write(Told(__import__("pathlib").Path(sys.argv[2])))
"""


def test_decoding_that_is_stopped_ends_with_its_processes(root: Path, tmp_path: Path) -> None:
    utterances(root, "train-many", 1, *["ONE"] * 220, seconds=0.2)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", STOPPED, str(root), str(tmp_path / "stopped")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode and "KeyboardInterrupt" in done.stderr


def test_planning_again_over_many_recordings_is_quick(tmp_path: Path) -> None:
    """20,000 recordings in well under the share of 10 s that 220,000 may take, of this process's own time."""
    utterances(tmp_path, "train-clean", 1, "ONE")
    head = (tmp_path / "LibriSpeech/train-clean/1/1/1-1-0000.flac").read_bytes()[:42]
    for chapter in range(200):
        folder = tmp_path / f"LibriSpeech/train-many/{chapter}/1"
        folder.mkdir(parents=True)
        for n in range(100):
            (folder / f"{chapter}-1-{n:04}.flac").write_bytes(head[:26] + (chapter * 100 + n).to_bytes(16, "big"))
        tsv(folder / f"{chapter}-1.trans.txt", *(f"{chapter}-1-{n:04} A LINE {n}" for n in range(100)))
    many = {
        "speech": ("LibriSpeech/train-many",),
        "pairs": ("LibriSpeech/train-many",),
        "asr": ("LibriSpeech/train-many",),
    }
    rest = {
        "dev": "",
        "test": "",
        "test_unseen": "",
        "text": (),
        "sentiment": "",
        "sentence_pair": "",
        "normalization": "",
    }
    before = ids(small(tmp_path, **many, **rest))
    began = time.process_time()
    assert ids(small(tmp_path, **many, **rest)) == before
    assert time.process_time() - began < 10 * 20_000 / 220_000 * 2


def test_further_tests_are_stated_in_a_file_or_an_override(root: Path) -> None:
    given = "data.tests={asr.test_far: LibriSpeech/test-other, sst2.test_imdb: 'a b.tsv'}"
    sweep = override({"data": {"root": str(root)}}, [given])
    config = typed(small(root), sweep["data"], "data")
    assert config.tests == {"asr.test_far": "LibriSpeech/test-other", "sst2.test_imdb": "a b.tsv"}


def test_the_cache_is_shared(cache: Path) -> None:
    """Several write to it at once, from the first moment on, and everybody finds everything."""

    def write(number: int) -> None:
        kept = Kept()
        for n in range(2000):
            kept.put(b"k%d" % (n % 1000 + number * 500), b"v%d" % (n % 1000 + number * 500))
        kept.flush()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    kept = Kept()
    assert all(kept.get(b"k%d" % n) == b"v%d" % n for n in range(3500)) and kept.get(b"k3500") is None
    assert kept.some([b"k1", b"k9999", b"k2"]) == {b"k1": b"v1", b"k2": b"v2"}
    assert [path.name for path in cache.iterdir()] == ["known.sqlite3"]


def test_real_corpora_through_a_link_and_a_manifest(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(real_data)
    folder = "LibriSpeech/train-lj"
    tables = {"text": (), "sentiment": "", "sentence_pair": "", "normalization": "", "pairs": ()}
    direct = small(
        real_data,
        speech=(folder,),
        asr=(folder,),
        translation="covost_qu_es",
        directions=("qu_es",),
        digits="common_voice_digits/en",
        max_seconds=20.0,
        **tables,
    )
    before = ids(direct)
    rows = list(registry.rows(real_data / folder))
    tsv(
        tmp_path / "lj.tsv",
        str(tmp_path / "link"),
        *(f"{row['recording'].path.relative_to(real_data)}\t0" for row in rows),
    )
    tsv(tmp_path / "lj.wrd", *(row["text"] for row in rows))
    listed = str(tmp_path / "lj.tsv")
    changes = {"root": str(tmp_path / "link"), "speech": (listed,), "asr": (listed,)}
    assert ids(dataclasses.replace(direct, **changes)) == before
    counts = {name: forms[0]["rows"] for name, forms in before.items()}
    assert {name: n for name, n in counts.items() if name.startswith(("speech", "digits", "translation"))} == {
        "speech.train": 320,
        "speech.dev": 33,
        "digits.train": 1500,
        "digits.dev": 500,
        "digits.test": 500,
        "translation.train": 47,
        "translation.dev": 6,
        "translation.test": 12,  # 7 are longer than 20 s
    }
