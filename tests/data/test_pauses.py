"""A long recording is cut at its pauses, wherever they are, and read in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from ablate.data import audio, pauses
from ablate.errors import UserError

RATE = 8_000


def words(gaps: list[float], word: float = 0.5, floor: float = 1e-3) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Bursts of sound with these pauses before them, and one of half a second at the end; where they are."""
    random, at, wave, places = np.random.default_rng(0), 0.0, [], []
    for gap in gaps:
        wave += [floor * random.standard_normal(round(gap * RATE)), 0.1 * random.standard_normal(round(word * RATE))]
        places.append((at + gap, at + gap + word))
        at += gap + word
    return np.concatenate([*wave, floor * random.standard_normal(RATE // 2)]), places


def found(wave: np.ndarray, shortest: float, longest: float, tmp_path, rate: int = RATE) -> list[tuple[float, float]]:
    soundfile.write(tmp_path / "a.wav", wave, rate)
    seconds = len(wave) / rate
    return [
        (one.start, seconds if one.stop is None else one.stop)
        for one in pauses.pieces(tmp_path / "a.wav", seconds, shortest, longest)
    ]


def test_each_word_between_pauses_is_a_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(pauses, "BLOCK", 2.0)  # read in several blocks
    wave, places = words([0.4, 0.3, 0.9, 3.0, 0.5] * 3)
    got = found(wave, 0.2, 2.0, tmp_path)
    np.testing.assert_allclose(got, places, atol=0.12)
    assert all(a <= start + 0.01 and end - 0.01 <= b for (a, b), (start, end) in zip(got, places, strict=True))


def test_no_word_is_cut_where_pieces_hold_several(tmp_path):
    wave, places = words([0.3] * 40)
    got = found(wave, 3.0, 6.0, tmp_path)
    assert len(got) == 10 and all(3.0 <= b - a <= 6.0 for a, b in got[:-1])
    assert not [one for one in places for cut in np.ravel(got) if one[0] + 0.01 < cut < one[1] - 0.01]


def test_shallow_pauses_are_cut_at_too(tmp_path):
    """The noise is 10 dB below the words: no pause is deep, but the cut is where it is quietest."""
    wave, places = words([0.3] * 40, floor=0.03)
    got = found(wave, 3.0, 6.0, tmp_path)
    assert not [one for one in places for cut in np.ravel(got)[1:-1] if one[0] + 0.05 < cut < one[1] - 0.05]


def test_sound_without_a_pause_is_cut_into_pieces_that_leave_nothing_out(tmp_path):
    got = found(0.1 * np.random.default_rng(0).standard_normal(10 * RATE), 1.0, 2.0, tmp_path)
    assert got[0][0] == 0 and got[-1][1] == 10 and max(b - a for a, b in got) <= 2.0
    assert [b for _, b in got[:-1]] == [a for a, _ in got[1:]]


def test_quiet_speech_counts_beside_an_offset_and_silence_does_not(tmp_path):
    wave, places = words([0.4] * 5, floor=3e-4)
    wave[: 2 * RATE] *= 0.1  # 20 dB quieter than the rest
    assert len(found(wave + 0.5, 0.2, 2.0, tmp_path)) == 5
    assert found(np.zeros(5 * RATE), 0.2, 2.0, tmp_path) == []


@pytest.mark.parametrize("rate", [11_025, 44_100])
def test_places_hold_at_any_rate(tmp_path, rate):
    wave, places = words([0.5] * 6)
    got = found(audio.resample(wave.astype(np.float32), RATE, rate), 0.2, 2.0, tmp_path, rate)
    np.testing.assert_allclose(got, places, atol=0.12)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.aiff"])
def test_a_file_that_breaks_off_is_never_taken_for_whole(tmp_path, name):
    wave, _ = words([0.5] * 40)
    soundfile.write(tmp_path / name, wave, RATE)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UserError, match=f"{name}: (is cut off|cannot be read as audio)"):
        pauses.pieces(tmp_path / name, audio.head(tmp_path / name).samples / RATE, 0.2, 2.0)
