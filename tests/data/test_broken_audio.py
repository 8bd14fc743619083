"""Files that break off, that state a wrong length or none, and those that libsndfile does not read."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile

from ablate.data import audio, containers, mpeg
from ablate.data.audio import Recording
from ablate.data.real import scan
from ablate.errors import UserError

KINDS = {
    "a.wav": {},
    "a.flac": {},
    "a.ogg": {},
    "a.mp3": {},
    "a.aiff": {},
    "a.au": {},
    "a.caf": {},
    "a.w64": {},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.sph": {"format": "NIST", "subtype": "PCM_16"},
    "a.rf64": {"format": "RF64", "subtype": "PCM_16"},
}


def noise(rate: int = 16_000, seconds: float = 4.0) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(round(rate * seconds))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    for name, how in KINDS.items():
        soundfile.write(folder / name, noise(), 16_000, **how)
    return {name: (folder / name).read_bytes() for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_every_format_is_read_whole_also_with_tags_and_filling_behind(whole, tmp_path, name):
    for rest in (b"", b"TAG" + bytes(125), bytes(500)):
        if rest and name in ("a.sph", "a.w64"):
            continue  # these have no place for tags
        (tmp_path / name).write_bytes(whole[name] + rest)
        assert len(audio.read(tmp_path / name)) == 64_000


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("share", [0.5, 0.95, 0.998])
def test_a_file_that_breaks_off_is_never_taken_for_whole(whole, tmp_path, name, share):
    (tmp_path / name).write_bytes(whole[name][: int(share * len(whole[name]))])
    with pytest.raises(UserError, match=f"{name}: (is cut off|cannot be read as audio)"):
        audio.read(tmp_path / name)


@pytest.mark.parametrize("name", KINDS)
def test_any_damage_of_a_header_is_a_fault_or_no_matter(whole, tmp_path, name):
    """No loop without end, and no error but the reader's own."""
    random = np.random.default_rng(0)
    for _ in range(60):
        raw = bytearray(whole[name])
        for at in random.integers(0, 120, 4):
            raw[at] = random.choice([0, 1, 255, 128, random.integers(256)])
        (tmp_path / name).write_bytes(raw)
        with open(tmp_path / name, "rb") as opened:
            assert isinstance(containers.amiss(opened), str)
        mpeg.counted(bytes(raw))
        try:
            audio.read(tmp_path / name)
        except UserError as error:
            assert name in str(error)


@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "a.mp3", "a.flac"])
def test_a_hole_in_the_middle_is_named(whole, tmp_path, name):
    half = len(whole[name]) // 2
    (tmp_path / name).write_bytes(whole[name][:half] + bytes(900) + whole[name][half + 900 :])
    with pytest.raises(UserError, match=f"{name}: (is cut off|cannot be read as audio)"):
        audio.read(tmp_path / name)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_of_variable_rate_without_an_index_is_read_whole(tmp_path, rate, channels):
    file, quiet = tmp_path / "a.mp3", np.repeat([1.0, 0.01, 0.5, 0.0], rate)
    wave = np.stack([noise(rate) * quiet] * channels, axis=1)
    soundfile.write(file, wave, rate, bitrate_mode="VARIABLE", compression_level=0.5)
    indexed = audio.read(file, rate)
    head = audio.head(file)
    assert head.samples == 4 * rate and not head.counted and not head.estimated
    key, _ = scan._sound(Recording(file))

    data = bytearray(file.read_bytes())
    data[(at := data.index(b"Xing")) : at + 4] = bytes(4)
    file.write_bytes(data)
    counted = audio.read(file, rate)
    assert audio.head(file).counted
    lag = len(counted) - len(indexed)
    assert 0 <= lag < 3 * 1152  # the encoder's delay and filling are not cut away
    found = np.abs(np.fft.irfft(np.fft.rfft(counted, 2**18) * np.conj(np.fft.rfft(indexed, 2**18)))).argmax()
    np.testing.assert_allclose(counted[found : found + len(indexed)][1000:-1000], indexed[1000:-1000], atol=0.02)
    assert len(audio.read(Recording(file, 3.0, 3.9))) == 14_400
    assert scan._sound(Recording(file))[0] != key
    with pytest.raises(UserError, match="a.mp3 from 5 to 9.0 s: the file ends at 4"):
        audio.read(Recording(file, 5.0, 9.0))


def test_an_index_that_states_fewer_frames_than_there_are_does_not_cut(tmp_path):
    """Two files in one, as `cat` makes them: the index is the first one's."""
    soundfile.write(tmp_path / "a.mp3", noise(), 16_000, bitrate_mode="CONSTANT", compression_level=0.5)
    once = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(once + once)
    found = mpeg.counted(once)
    assert found is not None and found.samples == 576 and found.frames == found.stated
    assert abs(len(audio.read(tmp_path / "a.mp3")) - 2 * found.frames * 576) <= 2 * 576


def test_an_mp3_of_constant_rate_without_an_index_is_the_sound_it_was(tmp_path):
    """Its identity, too: libsndfile's guess was right."""
    soundfile.write(tmp_path / "a.mp3", noise(), 16_000, bitrate_mode="CONSTANT", compression_level=0.5)
    data = bytearray((tmp_path / "a.mp3").read_bytes())
    data[(at := data.index(b"Info")) : at + 4] = bytes(4)
    (tmp_path / "a.mp3").write_bytes(data)
    wave, _ = soundfile.read(tmp_path / "a.mp3", dtype="float32")
    assert not audio.head(tmp_path / "a.mp3").counted
    np.testing.assert_array_equal(audio.read(tmp_path / "a.mp3"), wave)


def test_lengths_in_the_header_of_a_wav(tmp_path, whole):
    said = {
        64_000: "holds more audio than its header states",
        128_000: "",
        256_000: "is cut off",
        2**32 - 1: "",
        2**31 - 1: "",
        0x7FFFF000 - 36: "",
    }
    for length, fault in said.items():
        raw = bytearray(whole["a.wav"])
        raw[40:44] = struct.pack("<I", length)
        (tmp_path / "a.wav").write_bytes(raw)
        if fault:
            with pytest.raises(UserError, match=f"a.wav: {fault}"):
                audio.read(tmp_path / "a.wav")
        else:
            assert len(audio.read(tmp_path / "a.wav")) == 64_000


def test_a_chunk_behind_the_sound_is_no_sound(tmp_path, whole):
    (tmp_path / "a.wav").write_bytes(whole["a.wav"] + b"LIST" + struct.pack("<I", 4) + b"INFO")
    assert len(audio.read(tmp_path / "a.wav")) == 64_000


@pytest.mark.parametrize("samples", [32_000, 63_999])
def test_a_flac_that_states_less_than_it_holds_is_named(tmp_path, whole, samples):
    raw = bytearray(whole["a.flac"])
    raw[22:26] = struct.pack(">I", samples)
    (tmp_path / "a.flac").write_bytes(raw)
    with pytest.raises(UserError, match="a.flac: its sound is not what its header states"):
        audio.read(tmp_path / "a.flac")


def test_a_flac_is_the_same_samples_with_and_without_its_checksum(tmp_path, whole):
    (tmp_path / "a.flac").write_bytes(whole["a.flac"])
    raw = bytearray(whole["a.flac"])
    raw[26:42] = bytes(16)
    (tmp_path / "b.flac").write_bytes(raw)
    wave, _ = soundfile.read(tmp_path / "a.flac", dtype="float32")
    np.testing.assert_array_equal(audio.read(tmp_path / "a.flac"), wave)
    np.testing.assert_array_equal(audio.read(tmp_path / "b.flac"), wave)


def test_a_flac_that_does_not_state_its_length_is_named(tmp_path, whole):
    raw = bytearray(whole["a.flac"])
    raw[21] &= 0xF0
    raw[22:42] = bytes(20)
    (tmp_path / "a.flac").write_bytes(raw)
    with pytest.raises(UserError, match=r"a.flac: its header does not say how long it is; write the file again"):
        audio.read(tmp_path / "a.flac")


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_16", "IMA_ADPCM", "MS_ADPCM", "ULAW", "ALAW"])
def test_codings_of_telephones_are_read_whole_and_in_parts(tmp_path, subtype):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 8_000)
    soundfile.write(tmp_path / "a.wav", tone, 8_000, subtype=subtype)
    wave = audio.read(tmp_path / "a.wav")
    assert 16_000 <= len(wave) < 16_700  # some are written in blocks
    for part in (wave[:16_000], audio.read(Recording(tmp_path / "a.wav", 0.25, 0.75))):
        assert abs(np.abs(np.fft.rfft(part)).argmax() * 16_000 / len(part) - 440) < 3


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 8])
@pytest.mark.parametrize("rate", [8_000, 96_000, 192_000])
def test_any_rate_and_number_of_channels(tmp_path, channels, rate):
    tones = np.stack([0.1 * np.sin(2 * np.pi * (200 + 100 * n) * np.arange(rate) / rate) for n in range(channels)], 1)
    soundfile.write(tmp_path / "a.wav", tones, rate)
    for channel in range(channels):
        wave = audio.read(Recording(tmp_path / "a.wav", channel=channel))
        assert len(wave) == 16_000 and np.abs(np.fft.rfft(wave)).argmax() == 200 + 100 * channel
    mixed = np.abs(np.fft.rfft(audio.read(tmp_path / "a.wav")))[200 : 200 + 100 * channels : 100]
    np.testing.assert_allclose(mixed / (0.1 * 8_000 / channels), 1, atol=0.05)


def test_floats_beyond_full_scale_are_not_clipped(tmp_path):
    soundfile.write(tmp_path / "a.wav", 40 * noise(), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", noise(), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav"), 40 * audio.read(tmp_path / "b.wav"), rtol=1e-5)


FOREIGN = {
    b"\0\0\0\x20ftypM4A \0\0\0\0": r"it is MPEG-4 .*\); convert it \(ffmpeg -i a.wav a.flac\)",
    b"\x1aE\xdf\xa3" + bytes(30): "it is WebM or Matroska",
    b"ajkg\2" + bytes(99): "it is Shorten",
    b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n".ljust(1024): "it is packed by "
    r"Shorten\); convert it \(sph2pipe -f wav a.wav",
    b"<!doctype html><html>": r"it is a web page or XML\); download",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n": r"it is only a pointer of Git LFS\); fetch",
    b"\x1f\x8b\x08" + bytes(50): r"it is packed by gzip\); unpack it",
    bytes(5000): "its first bytes are all zero",
    b"": "it is empty",
    b"no audio at all\n" * 50: r"Format not recognised\); replace the file",
}


@pytest.mark.parametrize("first", FOREIGN)
def test_what_cannot_be_read_is_called_by_its_name_with_what_helps(tmp_path, first):
    (tmp_path / "a.wav").write_bytes(first)
    with pytest.raises(UserError, match=rf"a.wav: cannot be read as audio \({FOREIGN[first]}"):
        audio.read(tmp_path / "a.wav")
