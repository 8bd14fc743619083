"""Recordings of any rate, format and number of channels become the same 16 kHz wave; broken ones are named."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ablate.data import audio
from ablate.data.audio import Recording
from ablate.errors import UserError
from encoders import frontend


def tone(hz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("hz", [200.0, 440.0, 3000.0])
def test_a_tone_keeps_its_frequency_phase_and_loudness(tmp_path: Path, rate: int, hz: float) -> None:
    soundfile.write(tmp_path / "a.wav", tone(hz, rate), rate, subtype="FLOAT")
    wave = audio.read(tmp_path / "a.wav")
    assert wave.dtype == np.float32 and len(wave) == 16_000
    middle = slice(1000, -1000)  # the filter sees silence beyond the ends
    np.testing.assert_allclose(wave[middle], tone(hz, 16_000)[middle], atol=5e-3)


def test_what_16_khz_cannot_hold_is_removed_and_not_folded() -> None:
    wave = audio.resample(tone(12_000.0, 44_100), 44_100)
    assert np.abs(wave[1000:-1000]).max() < 1e-3


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = tone(300, 16_000), tone(500, 16_000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize(("name", "tolerance"), [("a.wav", 1e-4), ("a.flac", 1e-4), ("a.ogg", 0.05), ("a.mp3", 0.05)])
def test_formats(tmp_path: Path, name: str, tolerance: float) -> None:
    soundfile.write(tmp_path / name, tone(440, 16_000), 16_000)
    wave = audio.read(tmp_path / name)
    spectrum = np.abs(np.fft.rfft(wave))
    assert abs(len(wave) - 16_000) < 1200 and abs(spectrum.argmax() * 16_000 / len(wave) - 440) < 2
    if len(wave) == 16_000:
        assert np.abs(wave - tone(440, 16_000))[2000:-2000].max() < tolerance


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.5])
def test_a_cut_off_file_is_named(tmp_path: Path, name: str, share: float) -> None:
    soundfile.write(tmp_path / name, tone(440, 16_000, 4.0), 16_000)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match=f"{name}: (cannot be read|holds no audio|is cut off)"):
        audio.read(tmp_path / name)


def test_a_wav_that_was_streamed_has_no_length_in_its_header_and_is_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440, 16_000), 16_000)
    raw = bytearray((tmp_path / "a.wav").read_bytes())
    raw[4:8] = raw[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(raw)
    assert len(audio.read(tmp_path / "a.wav")) == 16_000


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_a_part_of_a_long_file_is_that_part_of_it(tmp_path: Path, name: str) -> None:
    """In its own rate before it is resampled, so that its neighbours are not heard in it."""
    wave = np.stack([tone(440, 8_000, 10.0), tone(700, 8_000, 10.0)], axis=1)
    soundfile.write(tmp_path / name, wave, 8_000)
    whole, _ = soundfile.read(tmp_path / name, dtype="float32")
    part = audio.read(Recording(tmp_path / name, 2.5, 4.0, channel=1))
    tolerance = 5e-3 if name == "a.ogg" else 1e-6  # a Vorbis decoder starts a little differently in the middle
    np.testing.assert_allclose(part, audio.resample(whole[20_000:32_000, 1], 8_000), atol=tolerance)
    assert (
        audio.frames(Recording(tmp_path / name, 2.5, 4.0))
        == len(audio.features(Recording(tmp_path / name, 2.5, 4.0)))
        == 148
    )
    assert len(audio.read(Recording(tmp_path / name, 9.5))) == 8_000
    assert len(audio.read(Recording(tmp_path / name, 9.5, 10.05))) == 8_000  # segment times are rounded
    with pytest.raises(UserError, match="from 9.5 to 11.0 s: the file ends at 10.00 s, before the segment does"):
        audio.read(Recording(tmp_path / name, 9.5, 11.0))
    with pytest.raises(UserError, match="from 3 to 3.0 s: is an empty segment"):
        audio.read(Recording(tmp_path / name, 3.0, 3.0))
    with pytest.raises(UserError, match="has 2 channels, and no channel 2"):
        audio.read(Recording(tmp_path / name, 0.0, 1.0, channel=2))


def test_a_part_of_an_mp3(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", np.concatenate([tone(440, 16_000, 3.0), tone(1000, 16_000, 3.0)]), 16_000)
    for start, hz in ((1.0, 440), (4.0, 1000)):
        part = audio.read(Recording(tmp_path / "a.mp3", start, start + 1))
        assert len(part) == 16_000 and abs(np.abs(np.fft.rfft(part)).argmax() - hz) < 3


def test_recordings_and_rows() -> None:
    root = Path("/root/of")
    for recording, row in (
        (Recording(root / "a/b.flac"), {"path": "a/b.flac"}),
        (Recording(root / "a/b.flac", 1.5, 2.0, 0), {"path": "a/b.flac", "start": 1.5, "stop": 2.0, "channel": 0}),
        (Recording(Path("/else/b.flac"), stop=2.0), {"path": "/else/b.flac", "stop": 2.0}),
    ):
        assert recording.fields(root) == row and Recording.of({"id": "x", **row}, root) == recording
        assert pickle.loads(pickle.dumps(recording)) == recording and isinstance(recording.path, Path)


def test_silence_is_a_fault_and_a_whisper_is_not(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(16_000, 0.25), 16_000)
    with pytest.raises(UserError, match="a.wav: holds only silence"):
        audio.read(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", 0.001 * tone(440, 16_000), 16_000)
    assert len(audio.read(tmp_path / "b.wav")) == 16_000


def test_other_faults(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no audio at all\n" * 50)
    with pytest.raises(UserError, match="a.wav: cannot be read as audio"):
        audio.read(tmp_path / "a.wav")
    with pytest.raises(UserError, match="b.wav: there is no such audio file"):
        audio.read(tmp_path / "b.wav")
    soundfile.write(tmp_path / "c.wav", np.empty(0, np.float32), 16_000)
    with pytest.raises(UserError, match="c.wav: holds no audio"):
        audio.read(tmp_path / "c.wav")
    soundfile.write(tmp_path / "d.wav", np.array([0.0, np.nan], np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(UserError, match="d.wav: holds samples that are not finite"):
        audio.read(tmp_path / "d.wav")


def test_real_8_khz_and_flac(real_data: Path) -> None:
    digit = real_data / "common_voice_digits/en/clips/0_george_0.wav"
    own, rate = soundfile.read(digit)
    assert rate == 8000 and len(audio.read(digit)) == 2 * len(own)
    utterance = next((real_data / "LibriSpeech/dev-clean").glob("*/*/*.flac"))
    np.testing.assert_array_equal(audio.read(utterance), soundfile.read(utterance, dtype="float32")[0])


@pytest.mark.parametrize("normalisation", frontend.NORMALISATIONS)
def test_an_offset_changes_no_features(tmp_path: Path, normalisation: str) -> None:
    """Left in, one of twice the sound's deviation would: it leaks into the lowest bins, and raises the floor."""
    loud = np.repeat([0.002, 0.1, 0.02, 0.05], 4000) * np.random.default_rng(0).standard_normal(16_000)
    wave = (loud - loud.mean()).astype(np.float32)
    features = []
    for offset in (0.0, 0.1):
        soundfile.write(tmp_path / "a.wav", wave + np.float32(offset), 16_000, subtype="FLOAT")
        features.append(audio.features(Recording(tmp_path / "a.wav"), normalisation).astype(np.float32))
    np.testing.assert_allclose(*features, atol=0.01)
    raw = frontend.NORMALISATIONS[normalisation](frontend.log_mel(torch.from_numpy(wave + np.float32(0.1))))
    assert np.abs(raw.numpy() - features[0]).mean(0)[:4].max() > 0.3
