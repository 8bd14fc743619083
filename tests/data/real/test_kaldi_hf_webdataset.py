"""Kaldi's, Hugging Face's and WebDataset's layouts: the same recordings are the same data, and faults have a place."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from real_files import Made, cache  # noqa: F401

from ablate.data import audio
from ablate.data.audio import Recording
from ablate.data.lines import Faults
from ablate.data.real.corpus import RealConfig
from ablate.data.real.layouts import registry
from ablate.errors import UserError

WORDS = {"b-1": "go on", "a-1": 'so "he" said, twice', "a-2": "été"}
NOTHING = {
    **dict.fromkeys(("speech", "pairs", "asr", "text"), ()),
    **dict.fromkeys(("dev", "test", "test_unseen", "translation", "sentiment", "sentence_pair"), ""),
    **dict.fromkeys(("normalization", "digits"), ""),
}


def sound(id: str, suffix: str = "flac") -> bytes:
    file = io.BytesIO()
    wave = np.random.default_rng(len(id) + ord(id[0]) + 9 * int(id[-1])).uniform(-0.5, 0.5, 16_000)
    soundfile.write(file, wave, 16_000, format=suffix)
    return file.getvalue()


def sounds(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for id in WORDS:
        (folder / f"{id}.flac").write_bytes(sound(id))


def write(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def kaldi(folder: Path) -> Path:
    """Relative paths with a space; one is absolute."""
    sounds(folder / "my wavs")
    files = {id: f"my wavs/{id}.flac" for id in WORDS} | {"b-1": str(folder / "my wavs/b-1.flac")}
    write(folder / "wav.scp", *(f"{id}  {file}" for id, file in files.items()))
    write(folder / "utt2spk", *(f"{id}\t{id[0]}" for id in sorted(WORDS)))
    write(folder / "text", *(f"{id} {text}" for id, text in WORDS.items()))
    return folder


def table(folder: Path) -> Path:
    sounds(folder / "clips")
    cells = {id: f'"{text.replace(chr(34), chr(34) * 2)}"' for id, text in WORDS.items()}
    write(
        folder / "metadata.csv",
        "transcription,file_name,speaker_id",
        *(f"{text},clips/{id}.flac,{id[0]}" for id, text in cells.items()),
    )
    return folder


def records(folder: Path) -> Path:
    sounds(folder)
    rows = ({"file_name": f"{id}.flac", "text": text, "speaker": id[0]} for id, text in WORDS.items())
    write(folder / "metadata.jsonl", *map(json.dumps, rows))
    return folder


def tar(path: Path, files: dict[str, bytes | str], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as made:
        for name, content in files.items():
            content = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return path


def sample(id: str) -> dict[str, bytes | str]:
    return {f"x/{id}.flac": sound(id), f"x/{id}.txt": WORDS[id] + "\n", f"x/{id}.json": json.dumps({"speaker": id[0]})}


def shards(folder: Path) -> Path:
    tar(folder / "0.tar", sample("b-1") | sample("a-2") | {"x/README": "for people"})
    said = {"text": WORDS["a-1"], "speaker_id": "a"}
    tar(folder / "1.tar", {"a-1.WAV": sound("a-1", "wav"), "a-1.json": json.dumps(said)})
    return folder


def libri(folder: Path) -> Path:
    for id, text in WORDS.items():
        sounds(folder / id[0] / "2")
        for other in WORDS:
            if other[0] != id[0]:
                (folder / id[0] / "2" / f"{other}.flac").unlink()
        with open(folder / id[0] / "2" / f"{id[0]}-2.trans.txt", "a") as lines:
            lines.write(f"{id} {text}\n")
    return folder


def config(root: Path, name: str, **fields: object) -> RealConfig:
    """Training data of that name, and other recordings to evaluate on: what a test has is left out of training."""
    for split in ("d", "e"):
        tar(root / f"{split}.tar", {f"{split}.flac": sound(f"{split}-3"), f"{split}.txt": "yes"})
    return RealConfig(root=str(root), **{**NOTHING, "asr": (name,), "dev": "d.tar", "test": "e.tar", **fields})


def planned(root: Path, name: str) -> str:
    return config(root, name).resolved().split("asr", "train").config.digest


def faults(path: Path) -> tuple[list[str], list[str]]:
    """Ids of the rows that are left when faults are skipped, and the faults."""
    skipping = Faults(skip=True, most=9, root=path.parent)
    return [row["id"] for row in registry.rows(path, skipping)], skipping.skipped


@pytest.mark.parametrize("layout", [kaldi, table, records])
def test_the_same_recordings_are_the_same_data_in_every_layout_and_place(
    layout: Callable[[Path], Path], tmp_path: Path
) -> None:
    expected = planned(libri(tmp_path / "libri").parent, "libri")
    assert planned(layout(tmp_path / "here").parent, "here") == expected
    if layout is kaldi:  # an absolute path would go on to name the old place
        lines = (tmp_path / "here/wav.scp").read_text()
        (tmp_path / "here/wav.scp").write_text(lines.replace(f"{tmp_path}/here/", ""))
    shutil.move(tmp_path / "here", tmp_path / "there")
    for file in tmp_path.glob("there/**/*.*"):
        os.utime(file, (1, 1))
    assert planned(tmp_path, "there") == expected


def test_shards_are_read_in_place_and_are_the_same_data_wherever_they_begin_in_the_tar(tmp_path: Path) -> None:
    sound_of = {id: sound(id) for id in ("b-1", "a-2")}
    tar(tmp_path / "one/0.tar", sample("b-1") | sample("a-2"))
    tar(tmp_path / "two/0.tar", {"long": "x" * 5000} | sample("a-2"))
    tar(tmp_path / "two/1.tar", sample("b-1"))
    assert planned(tmp_path, "one") == planned(tmp_path, "two")
    rows = {row["id"]: row["recording"] for row in registry.rows(tmp_path / "two")}
    assert {id: recording.file for id, recording in rows.items()} == {
        "0/x/a-2": f"{tmp_path}/two/0.tar",
        "1/x/b-1": f"{tmp_path}/two/1.tar",
    }
    for id, recording in rows.items():
        with recording.open() as file:
            assert file.read() == sound_of[id[-3:]]
        (tmp_path / "alone.flac").write_bytes(sound_of[id[-3:]])
        np.testing.assert_array_equal(audio.read(recording), audio.read(tmp_path / "alone.flac"))
        part = Recording(recording.file, 0.25, 0.5, member=recording.member)
        np.testing.assert_array_equal(audio.read(part), audio.read(Recording(tmp_path / "alone.flac", 0.25, 0.5)))
        assert pickle.loads(pickle.dumps(part)) == part == Recording.of(part.fields(tmp_path), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".flac" and path.name != "alone.flac"]


@pytest.mark.parametrize("suffix", ["wav", "mp3", "ogg", "aiff"])
def test_every_format_is_read_out_of_a_tar_as_out_of_a_file(tmp_path: Path, suffix: str) -> None:
    tar(tmp_path / "a.tar", {"first.txt": "of another", f"a.{suffix}": sound("a-1", suffix), "a.txt": "go"})
    (tmp_path / f"a.{suffix}").write_bytes(sound("a-1", suffix))
    skipping = Faults(skip=True, most=1)
    (row,) = registry.rows(tmp_path / "a.tar", skipping)
    np.testing.assert_array_equal(audio.read(row["recording"]), audio.read(tmp_path / f"a.{suffix}"))
    broken = sound("a-1", suffix)[:1500]
    tar(tmp_path / "b.tar", {f"a.{suffix}": broken, "a.txt": "go"})
    (row,) = registry.rows(tmp_path / "b.tar")
    with pytest.raises(UserError, match=rf"^{tmp_path}/b.tar, a.{suffix}: "):
        audio.read(row["recording"])


def test_features_are_read_from_a_tar_that_was_written_again_in_another_order(tmp_path: Path) -> None:
    shards(tmp_path / "data/wds")
    made = Made(config(tmp_path / "data", "wds", features="read"), tmp_path / "made")
    rows = made.table("asr.train")
    before = [rows.mel(index) for index in range(len(rows))]
    tar(tmp_path / "data/wds/0.tar", {"x/pad.txt": "y" * 700} | sample("a-2") | sample("b-1"))
    with pytest.raises(UserError, match=r"0.tar, x/pad.txt: has no recording"):
        rows.mel(0), rows.mel(1), rows.mel(2)
    tar(tmp_path / "data/wds/0.tar", {"x/pad": "y" * 700} | sample("a-2") | sample("b-1"))
    fresh = made.table("asr.train")
    for index, mel_FM in enumerate(before):
        np.testing.assert_array_equal(fresh.mel(index), mel_FM)


def test_kaldi_segments_are_parts_with_channels_and_open_ends(tmp_path: Path) -> None:
    folder = kaldi(tmp_path / "k")
    write(folder / "segments", "u1 b-1 0.25 0.5", "u2 b-1 0.5 -1", "u3 a-1 0 1 0")
    for name in ("utt2spk", "text"):
        write(folder / name, "u1 s", "u2 s", "u3 t")
    file = str(folder / "my wavs/b-1.flac")
    assert [row["recording"] for row in registry.rows(folder)] == [
        Recording(file, 0.25, 0.5),
        Recording(file, 0.5),
        Recording(folder / "my wavs/a-1.flac", 0.0, 1.0, 0),
    ]
    write(folder / "segments", "u1 b-1 0.25 0.5", "u2 b-1 0.5 1.7", "u3 a-1 0 1 0")
    said = rf"^{folder}/segments, line 2: {file} from 0.5 to 1.7 s: the file ends at 1.00 s, before the segment does"
    with pytest.raises(UserError, match=said):
        planned(tmp_path, "k")


def test_kaldi_faults(tmp_path: Path) -> None:
    folder = kaldi(tmp_path / "k")
    write(
        folder / "wav.scp",
        "a-1 sox a.mp3 -t wav - |",
        "a-2 raw.ark:17",
        "b-1 gone.wav",
        "b-1 my wavs/b-1.flac",
        "b-2",
        "c-1 my wavs/a-1.flac",
    )
    write(folder / "utt2spk", *(f"{id} s" for id in ("a-1", "a-2", "b-1", "b-2", "z")))
    write(folder / "text", *(f"{id} s" for id in ("a-1", "a-2", "b-1", "b-2", "c-1")))
    assert faults(folder) == (
        [],
        [
            "k/wav.scp, line 4: has 'b-1', as line 3 has; keep one.",
            "k/wav.scp, line 1: 'a-1' is the command 'sox a.mp3 -t wav -', which is not run; write its output into a "
            "file (sox a.mp3 -t wav - > a-1.wav), and the file's path here.",
            "k/wav.scp, line 2: 'a-2' is a place in an archive (raw.ark:17), which is not read; write its sound into a "
            "file (wav-copy raw.ark:17 a-2.wav), and the file's path here.",
            "k/wav.scp, line 3: the recording gone.wav does not exist, nor from this folder upwards.",
            "k/wav.scp, line 5: 'b-2' has no path after it.",
            "k/utt2spk: has no line for 'c-1' (k/wav.scp, line 6).",
            "k/utt2spk, line 5: 'z' is not in wav.scp.",
        ],
    )
    kaldi(tmp_path / "k")
    write(folder / "segments", "a-1 r 0 1", "a-2 a-2 2 1", "b-1 b-1 0 x")
    assert faults(folder) == (
        [],
        [
            "k/segments, line 1: the recording 'r' is not in k/wav.scp.",
            *(
                f"k/segments, line {number}: expected UTTERANCE RECORDING START STOP, with times in seconds and the "
                f"stop after the start; found '{found}' after the utterance."
                for number, found in ((2, "a-2 2 1"), (3, "b-1 0 x"))
            ),
        ],
    )
    (folder / "utt2spk").unlink()
    with pytest.raises(UserError, match=r"lacks data.asr \(k/utt2spk\)"):
        planned(tmp_path, "k")
    write(folder / "wav.scp"), (folder / "segments").unlink()
    write(folder / "utt2spk")
    with pytest.raises(UserError, match="wav.scp: is empty, expected a line for each recording"):
        list(registry.rows(folder))
    (folder / "text").write_bytes(b"a-1 caf\xe9\n")
    with pytest.raises(UserError, match="text, line 1: is not UTF-8"):
        list(registry.rows(folder))


def test_a_kaldi_path_is_searched_from_the_folder_upwards(tmp_path: Path) -> None:
    folder = kaldi(tmp_path / "data/train")
    shutil.move(folder / "my wavs", tmp_path / "my wavs")
    write(folder / "wav.scp", *(f"{id} my wavs/{id}.flac" for id in WORDS))
    assert {Path(row["recording"].file).parent for row in registry.rows(folder)} == {tmp_path / "my wavs"}


def test_audio_folder_faults(tmp_path: Path) -> None:
    folder = table(tmp_path / "hf")
    write(
        folder / "metadata.csv",
        "file_name,transcription",
        'clips/a-1.flac,"two',
        'lines"',
        "clips/a-1.flac,again",
        "clips/gone.flac,go",
        "clips/a-2.flac,one, two",
        ",go",
        "clips/b-1.flac,go",
    )
    rows, said = faults(folder)
    assert rows == ["clips/a-1.flac", "clips/b-1.flac"] and next(iter(registry.rows(folder)))["text"] == "two\nlines"
    assert said == [
        "hf/metadata.csv, line 4: has 'clips/a-1.flac', as line 2 has; keep one.",
        "hf/metadata.csv, line 5: the recording hf/clips/gone.flac does not exist.",
        "hf/metadata.csv, line 6: has 3 columns, expected 2; write a cell that has commas in quotes.",
        "hf/metadata.csv, line 7: has no path in file_name; its fields are file_name, transcription.",
    ]
    write(folder / "metadata.csv", "file_name;transcription", "clips/a-1.flac;go")
    with pytest.raises(
        UserError,
        match="its columns are file_name;transcription, expected commas between",
    ):
        list(registry.rows(folder))
    write(folder / "metadata.csv", "file_name,transcription", 'clips/a-1.flac,"go')
    with pytest.raises(UserError, match="metadata.csv, line 2: is not CSV"):
        list(registry.rows(folder))
    write(folder / "metadata.csv", "file_name,transcription")
    with pytest.raises(UserError, match="metadata.csv: has no rows"):
        list(registry.rows(folder))
    write(folder / "metadata.csv")
    with pytest.raises(UserError, match="metadata.csv: is empty, expected a line with the columns file_name"):
        list(registry.rows(folder))
    (folder / "metadata.csv").write_bytes("file_name,transcription\nclips/a-1.flac,café\n".encode("latin-1"))
    with pytest.raises(UserError, match="metadata.csv, line 2: is not UTF-8"):
        list(registry.rows(folder))
    write(folder / "metadata.jsonl", '{"file_name": "clips/a-1.flac"}')
    with pytest.raises(UserError, match="has both metadata.csv and metadata.jsonl; keep one"):
        list(registry.rows(folder))
    (folder / "metadata.csv").unlink()
    (row,) = registry.rows(folder)
    assert "text" not in row and row["voice"] == "clips/a-1.flac"


def test_webdataset_faults(tmp_path: Path) -> None:
    flac, folder = sound("a-1"), tmp_path / "wds"
    files = {
        "a.flac": flac,
        "a.txt": "go",
        "b.flac": flac,
        "c.txt": "go",
        "d.flac": flac,
        "d.wav": flac,
        "d.txt": "go",
        "e.flac": flac,
        "e.txt": b"caf\xe9",
        "f.flac": flac,
        "f.json": '{"text": "go"',
        "g.flac": flac,
        "g.json": "[]",
        "._a.flac": "left by a Mac",
    }
    tar(folder / "0.tar", files)
    with tarfile.open(folder / "0.tar", "a") as more:
        info = tarfile.TarInfo("a.txt")
        more.addfile(info, io.BytesIO())
    where = "wds/0.tar, "
    assert faults(folder) == (
        ["0/a"],
        [
            f"{where}a.txt: is in the tar twice, or differs only in case; keep one.",
            f"{where}e.txt: is not UTF-8 (byte 4); convert the file.",
            f"{where}f.json, line 1: is not JSON (Expecting ',' delimiter).",
            f"{where}g.json: is a JSON list, expected an object.",
            f"{where}b.flac: has no transcript, b.txt or the text in b.json, in the tar with it.",
            f"{where}c.txt: has no recording, c.flac (or .wav, …), in the tar with it.",
            f"{where}d.flac: 'd' has several recordings, d.flac and d.wav; a key ends at the first dot, keep one.",
        ],
    )
    assert len(list(registry.rows(tar(tmp_path / "speech/0.tar", {"a.flac": flac, "b.flac": flac})))) == 2
    (folder / "1.tar").write_bytes(b"")
    with pytest.raises(UserError, match="1.tar: cannot be read as a tar .*; copy the file again"):
        list(registry.rows(folder / "1.tar"))
    with pytest.raises(UserError, match="2.tar: has no files in it"):
        list(registry.rows(tar(folder / "2.tar", {})))
    whole = (folder / "0.tar").read_bytes()
    for cut in (2_000, whole.index(b"b.flac") + 2_000):
        (folder / "3.tar").write_bytes(whole[:cut])
        with pytest.raises(UserError, match="3.tar.*: (cannot be read as a tar|the tar ends within this file)"):
            list(registry.rows(folder / "3.tar"))
    for name, mode, how in (("4.tar.gz", "w:gz", "gunzip"), ("5.tar", "w:xz", "unxz"), ("6.tgz", "w:gz", "gunzip")):
        tar(folder / name, {"a.flac": flac}, mode)
        with pytest.raises(UserError, match=rf"is compressed, .* unpack it to a plain .tar \({how} {name}\)"):
            list(registry.rows(folder / name))


def test_a_tar_or_a_table_of_others_beside_speakers_is_no_layout(tmp_path: Path) -> None:
    folder = libri(tmp_path / "libri")
    write(folder / "metadata.csv", "LJ001-0001|Printing|printing")
    tar(folder / "train.tar.gz", {}, "w:gz")
    assert len(list(registry.rows(folder))) == 3


def test_where_no_row_has_a_text_it_is_said_what_there_is_and_what_is_wanted(tmp_path: Path) -> None:
    wanted = "transcription, text, sentence"

    def said(name: str) -> str:
        with pytest.raises(UserError) as error:
            planned(tmp_path, name)
        return (
            str(error.value).partition("No row of asr.train can be used (3 × no text: ")[2].partition("); add data")[0]
        )

    folder = table(tmp_path / "hf")
    lines = (folder / "metadata.csv").read_text().replace("transcription,", "words,", 1)
    (folder / "metadata.csv").write_text(lines)
    assert said("hf") == f"metadata.csv has words, file_name, speaker_id; the text is looked for in {wanted}"
    folder = records(tmp_path / "jsonl")
    (folder / "metadata.jsonl").write_text((folder / "metadata.jsonl").read_text().replace('"text"', '"words"'))
    assert said("jsonl") == f"metadata.jsonl has file_name, words, speaker; the text is looked for in {wanted}"
    tar(
        tmp_path / "wds/0.tar",
        {f"{id}.flac": sound(id) for id in WORDS} | {"a-1.json": '{"words": "a", "speaker": "b"}'},
    )
    assert said("wds").startswith("0.tar has b-1.flac; the text is looked for in b-1.txt, and in b-1.json as transc")
    (kaldi(tmp_path / "k") / "text").unlink()
    assert said("k") == "there is no file 'text' beside wav.scp"


def test_the_folder_above_corpora_names_them(tmp_path: Path) -> None:
    """Their depth is LibriSpeech's, whose files begin with speaker and chapter."""
    for part in ("test", "train"):
        kaldi(tmp_path / "kaldi" / part)
        sounds(tmp_path / "kaldi" / part / "wavs" / "b")
        table(tmp_path / "all" / "hf" / part)
    libri(tmp_path / "LibriSpeech/dev-clean")
    for name, found in (
        ("kaldi", "test (a Kaldi folder with wav.scp), train (a Kaldi folder with wav.scp);"),
        ("all", "hf/test (a Hugging Face audio folder with metadata.csv or metadata.jsonl), hf/train (a Hugging"),
        ("LibriSpeech", "dev-clean (a LibriSpeech folder);"),
    ):
        with pytest.raises(UserError) as error:
            list(registry.rows(tmp_path / name))
        assert f"{name}: has no known layout, but below it there is {found}" in str(error.value)
