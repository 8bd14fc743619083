"""Text files as other systems write them, in every layout; recordings found by their exact names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from ablate.data.lines import Faults
from ablate.data.real.layouts import registry
from ablate.data.real.layouts.stm import stm
from ablate.errors import UserError

WAVE = 0.1 * np.random.default_rng(0).standard_normal(16_000)


def sound(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, WAVE, 16_000)


def cut(name: str) -> str:
    recording = {"id": "r", "duration": 1.0, "sources": [{"type": "file", "channels": [0], "source": "clips/a.flac"}]}
    row = {"id": name, "start": 0, "duration": 1.0, "channel": 0, "recording": recording}
    return str(row).replace("'", '"')


# layout: the file, and its lines
FILES = {
    "librispeech": ("libri/7/8/7-8.trans.txt", ["7-8-1 ONE", "7-8-2 TWO"]),
    "common_voice": ("dev.tsv", ["client_id\tpath\tsentence", "v\ta.flac\tone", "v\tb.flac\ttwo"]),
    "fairseq": ("list.tsv", ["clips", "a.flac\t16000", "b.flac\t16000"]),
    "lhotse": ("cuts.jsonl", [cut("a"), cut("b")]),
    "stm": ("talks.stm", ["a 1 v 0.0 0.5 <o> one", "b 1 v 0.0 0.5 <o> two"]),
    "lines": ("text.txt", ["one", "two"]),
    "records": ("records.json", ['{"text": "one"}', '{"text": "two"}']),
}


def corpus(folder: Path, layout: str) -> tuple[Path, Path]:
    """The file with the text of a small corpus, and what is configured as its path."""
    name, lines = FILES[layout]
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    for one in ("clips/a.flac", "clips/b.flac", "libri/7/8/7-8-1.flac", "libri/7/8/7-8-2.flac"):
        sound(folder / one)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file, folder / "libri" if layout == "librispeech" else file


def read(path: Path, layout: str) -> list[dict]:
    layouts = registry.TEXT_LAYOUTS if layout in registry.TEXT_LAYOUTS else registry.LAYOUTS
    return list(registry.rows(path, Faults(), layouts))


@pytest.mark.parametrize("layout", FILES)
def test_a_mark_at_the_beginning_and_line_ends_of_windows_change_nothing(tmp_path, layout):
    file, path = corpus(tmp_path, layout)
    rows, raw = read(path, layout), file.read_bytes()
    assert len(rows) == 2
    for change in (b"\xef\xbb\xbf" + raw, raw.replace(b"\n", b"\r\n"), raw[:-1], raw + b"\n\n"):
        file.write_bytes(change)
        assert read(path, layout) == rows


@pytest.mark.parametrize("layout", FILES)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(tmp_path, layout, encoding):
    file, path = corpus(tmp_path, layout)
    file.write_bytes(file.read_text().encode(encoding))
    name = encoding[:6].upper()
    with pytest.raises(UserError, match=rf"{file.name}, line 1: is {name}, expected UTF-8; convert the file \(iconv"):
        read(path, layout)


@pytest.mark.parametrize("layout", FILES)
def test_line_ends_of_old_macs_are_named_and_not_taken_for_one_line(tmp_path, layout):
    file, path = corpus(tmp_path, layout)
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r"))
    with pytest.raises(UserError, match=f"{file.name}, line 1: a carriage return"):
        read(path, layout)


@pytest.mark.parametrize("layout", FILES)
@pytest.mark.parametrize(("letter", "fault"), [(b"\0", "holds the character NUL"), (b"\xe9", "is not UTF-8")])
def test_a_broken_line_is_named_with_its_number(tmp_path, layout, letter, fault):
    file, path = corpus(tmp_path, layout)
    first, *lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([first, lines[-1][:-2], letter, b"\n"]))
    with pytest.raises(UserError, match=f"{file.name}, line 2: {fault}"):
        read(path, layout)


def test_a_table_with_commas_is_called_that(tmp_path):
    sound(tmp_path / "clips/a.flac")
    (tmp_path / "dev.tsv").write_text("client_id,path,sentence\nv,a.flac,one\n")
    with pytest.raises(UserError, match=r"dev.tsv, line 1: there is no folder.*table needs tabs.*has commas"):
        read(tmp_path / "dev.tsv", "common_voice")
    for sign, name in ((",", "commas"), (";", "semicolons")):
        (tmp_path / "dev.tsv").write_text(sign.join(["client_id", "path", "sentence"]) + "\n")
        with pytest.raises(UserError, match=f"dev.tsv, line 1: has {name} between its columns, expected tabs"):
            list(registry.table("digits").rows(tmp_path, "dev", Faults()))


def test_a_cell_that_holds_the_separator_is_named(tmp_path):
    sound(tmp_path / "clips/a.flac")
    (tmp_path / "dev.tsv").write_text("client_id\tpath\tsentence\nv\ta.flac\tone\ttwo\n")
    with pytest.raises(UserError, match="dev.tsv, line 2: has 4 columns, expected 3"):
        read(tmp_path / "dev.tsv", "common_voice")


def test_clips_may_be_written_in_the_path_too(tmp_path):
    sound(tmp_path / "clips/a.flac")
    (tmp_path / "dev.tsv").write_text("client_id\tpath\tsentence\nv\tclips/a.flac\tone\n")
    (row,) = read(tmp_path / "dev.tsv", "common_voice")
    assert row["recording"].path == tmp_path / "clips/a.flac"


def test_the_root_of_a_manifest_may_be_relative_to_it_and_is_named_if_it_is_missing(tmp_path):
    sound(tmp_path / "clips/a.flac")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/dev.tsv").write_text("../clips\na.flac\t16000\n")
    (row,) = read(tmp_path / "lists/dev.tsv", "fairseq")
    assert row["recording"].path.samefile(tmp_path / "clips/a.flac")
    (tmp_path / "lists/dev.tsv").write_text("/nowhere\na.flac\t16000\n")
    with pytest.raises(UserError, match="dev.tsv, line 1: there is no folder '/nowhere'"):
        read(tmp_path / "lists/dev.tsv", "fairseq")


def segment(tmp_path: Path, name: str, channel: str = "1") -> Path:
    (tmp_path / "a.stm").write_text(f"{name} {channel} v 0.0 0.5 <o> one\n")
    (row,) = stm(tmp_path / "a.stm")
    return row["recording"]


def test_a_root_beside_its_manifest_goes_before_one_where_the_command_runs(tmp_path, monkeypatch):
    for folder in ("here", "data"):
        sound(tmp_path / folder / "clips/a.flac")
    (tmp_path / "data/list.tsv").write_text("clips\na.flac\t16000\n")
    monkeypatch.chdir(tmp_path / "here")
    (row,) = read(tmp_path / "data/list.tsv", "fairseq")
    assert row["recording"].path == tmp_path / "data/clips/a.flac"


def test_a_recording_is_found_by_its_exact_name(tmp_path):
    for name in ("talk.copy.wav", "talk.wav", "call.A.wav", "two.a.wav", "two.b.wav"):
        sound(tmp_path / name)
    assert segment(tmp_path, "talk").path.name == "talk.wav"
    assert segment(tmp_path, "talk.copy").path.name == "talk.copy.wav"
    assert segment(tmp_path, "call").path.name == "call.A.wav"
    with pytest.raises(UserError, match=r"line 1: several recordings are called 'two' \(two.a.wav, two.b.wav\)"):
        segment(tmp_path, "two")


def test_an_exact_name_in_a_folder_below_goes_before_a_part_of_a_name(tmp_path):
    sound(tmp_path / "talk.copy.wav")
    sound(tmp_path / "wav/talk.wav")
    assert segment(tmp_path, "talk").path == tmp_path / "wav/talk.wav"


def test_channels_of_calls_are_letters(tmp_path):
    sound(tmp_path / "call.wav")
    assert [segment(tmp_path, "call", one).channel for one in ("A", "B", "a", "1", "2", "C")] == [0, 1, 0, 0, 1, 2]
    for wrong in ("0", "left", "AB", "-1"):
        with pytest.raises(UserError, match=f"a.stm, line 1: the channel is '{wrong}', expected a number from 1 or a"):
            segment(tmp_path, "call", wrong)


def test_a_transcript_whose_recording_is_in_another_format_says_so(tmp_path):
    (tmp_path / "libri/7/8").mkdir(parents=True)
    (tmp_path / "libri/7/8/7-8.trans.txt").write_text("7-8-1 ONE\n")
    (tmp_path / "libri/7/8/7-8-1.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    with pytest.raises(UserError, match=r"7-8-1.m4a is in no format that is read: convert it \(ffmpeg -i 7-8-1.m4a"):
        read(tmp_path / "libri", "librispeech")
