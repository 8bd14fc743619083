"""What users of other toolkits reported of files and manifests, tried here."""

from __future__ import annotations

import gzip
import json
import os
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ablate.data import audio
from ablate.data.audio import Recording
from ablate.data.lines import Faults
from ablate.data.real import scan
from ablate.data.real.layouts import registry
from ablate.errors import UserError

RNG = np.random.default_rng(0)
WAVE = 0.1 * RNG.standard_normal(16_000)


def sound(path: Path, wave: np.ndarray = WAVE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, 16_000)
    return path


@pytest.mark.parametrize("second", [-WAVE, -0.95 * WAVE])
def test_channels_that_cancel_are_no_silence_and_no_speech(tmp_path, second):
    path = sound(tmp_path / "a.wav", np.stack([WAVE, second], axis=1))
    with pytest.raises(UserError, match=r"a.wav: its 2 channels cancel each other in their mean"):
        audio.read(path)
    assert np.abs(audio.read(Recording(path, channel=1)) - second).max() < 1e-4


@pytest.mark.parametrize("channels", [2, 8, 64])
def test_channels_that_differ_do_not_cancel(tmp_path, channels):
    unrelated = sound(tmp_path / "a.wav", 0.1 * RNG.standard_normal((16_000, channels)))
    alone = sound(tmp_path / "b.wav", np.stack([WAVE, *[0 * WAVE] * min(7, channels - 1)], axis=1))
    assert len(audio.read(unrelated)) == len(audio.read(alone)) == 16_000


def test_a_wav_whose_writer_never_stated_a_length_is_called_that(tmp_path):
    raw = bytearray(sound(tmp_path / "a.wav").read_bytes())
    raw[40:44] = struct.pack("<I", 0)
    (tmp_path / "a.wav").write_bytes(raw)
    for recording in (Recording(tmp_path / "a.wav"), Recording(tmp_path / "a.wav", 0.2, 0.4)):
        with pytest.raises(UserError, match="a.wav: holds more audio than its header states"):
            audio.read(recording)


@pytest.mark.parametrize("format, rate", [("ogg", 44_100), ("opus", 48_000), ("mp3", 44_100)])
def test_parts_of_compressed_files_are_where_they_are_asked_for(tmp_path, format, rate):
    path, wave = tmp_path / f"a.{format}", 0.1 * RNG.standard_normal(rate * 8)
    with soundfile.SoundFile(
        path, "w", rate, 1, format="OGG" if format != "mp3" else "MP3", subtype={"opus": "OPUS"}.get(format)
    ) as file:
        for start in range(0, len(wave), 4096):
            file.write(wave[start : start + 4096])
    whole = audio.read(path, rate)
    for start in RNG.uniform(0.5, 7, 12).round(3).tolist():
        part, first = audio.read(Recording(path, start, start + 0.5), rate), round(start * rate)
        np.testing.assert_allclose(part, whole[first : first + len(part)], atol=1e-4)


def test_a_name_in_another_encoding_is_named(tmp_path):
    named = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.flac")
    os.rename(sound(tmp_path / "a.flac"), named)
    with pytest.raises(UserError, match=r"caf\\xe9.flac: its name is not UTF-8; rename it"):
        audio.read(Path(named))
    ((_, fault),) = scan._look([Recording(named)])
    assert "its name is not UTF-8" in fault and fault.encode()


def test_a_locale_without_utf_8_is_told_where_names_are_not_found(monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "iso8859-1")
    with pytest.raises(UserError, match=r"^J\xfcrgen.flac is missing. \(The locale .* iso8859-1: set PYTHONUTF8=1.\)$"):
        Faults().report("J\xfcrgen.flac is missing.")
    with pytest.raises(UserError, match="^a.flac is missing.$"):
        Faults().report("a.flac is missing.")


def read(path: Path, root: Path) -> tuple[list, list[str]]:
    faults = Faults(skip=True, most=99, root=root)
    return [(row["id"], row.get("text")) for row in registry.rows(path, faults)], faults.skipped


def test_a_packed_manifest_of_fairseq_has_its_transcripts(tmp_path):
    sound(tmp_path / "clips/a.flac")
    (tmp_path / "train.tsv.gz").write_bytes(gzip.compress(b"clips\na.flac\t16000\n"))
    (tmp_path / "train.ltr").write_text("O N E | T W O |\n")
    assert read(tmp_path / "train.tsv.gz", tmp_path) == ([("a", "ONE TWO")], [])


def test_two_transcripts_of_a_recording_are_told_with_both_lines(tmp_path):
    sound(tmp_path / "libri/7/8/7-8-1.flac")
    (tmp_path / "libri/7/8/7-8.trans.txt").write_text("7-8-1 ONE\n7-8-1 TWO\n")
    told = "libri/7/8/7-8.trans.txt, line 2: '7-8-1' has a transcript in line 1 already; keep one."
    assert read(tmp_path / "libri", tmp_path) == ([("7-8-1", "ONE")], [told])


@pytest.mark.parametrize(
    "start, duration", [(0.5, -0.2), (0.1, float("nan")), (float("nan"), 0.1), (0.1, float("inf"))]
)
def test_times_of_lhotse_that_are_no_span_are_named_with_their_line(tmp_path, start, duration):
    sound(tmp_path / "a.wav")
    recording = {"id": "r", "duration": 1.0, "sources": [{"type": "file", "channels": [0], "source": "a.wav"}]}
    good = {"id": "good", "start": 0.2, "duration": 0.5, "channel": 0, "text": "yes"}
    bad = {**good, "id": "bad", "start": start, "duration": duration}
    cuts = [
        {"id": one["id"], "start": 0, "duration": 1.0, "recording": recording, "supervisions": [one]}
        for one in (good, bad)
    ]
    (tmp_path / "cuts.jsonl").write_text("".join(json.dumps(cut) + "\n" for cut in cuts))
    rows, (fault,) = read(tmp_path / "cuts.jsonl", tmp_path)
    assert rows == [("good", "yes")] and fault.startswith("cuts.jsonl, line 2: cut 'bad'") and "is no span" in fault


def test_unmatched_quotes_swallow_no_rows(tmp_path):
    for name in "abc":
        sound(tmp_path / f"clips/{name}.wav")
    lines = ['s\ta.wav\t"では、危険"と言った。', 's\tb.wav\t"open', "s\tc.wav\tlast"]
    (tmp_path / "dev.tsv").write_text("\n".join(["client_id\tpath\tsentence", *lines]) + "\n", encoding="utf-8")
    assert [text for _, text in read(tmp_path / "dev.tsv", tmp_path)[0]] == ['"では、危険"と言った。', '"open', "last"]


def test_an_empty_segment_is_named_with_both_times():
    assert str(Recording("a.wav", 0.0, 0.0)) == "a.wav from 0 to 0.0 s"
    assert str(Recording("a.wav", 1.5)) == "a.wav from 1.5 s to its end" and str(Recording("a.wav")) == "a.wav"
