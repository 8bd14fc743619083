import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

from ablate.data.builtin import espeak
from ablate.errors import UserError

pytest.importorskip("espeakng_loader")


def utterances(count, voices=("m3", "f1", "linda", "aunty")):
    words = "one two three four five six seven eight nine ten".split()
    said = [f"{words[i % 10]} and {words[i // 10 % 10]}" for i in range(count)]
    return [espeak.Utterance(text, voices[i % len(voices)], 220, 50, 30.0, i) for i, text in enumerate(said)]


def test_frames_are_the_same_for_any_number_of_processes():
    said = utterances(2 * espeak.CHUNK + 7)
    one, three = (list(espeak.speak(said, processes)) for processes in (1, 3))
    assert len(one) == len(three) == len(said)
    for (a, phones), (b, again) in zip(one, three):
        assert a.dtype == np.float16 and a.shape[1] == 80 and np.array_equal(a, b) and phones == again
    # Noise, voice and text differ, so no two are the same.
    assert len({mel.tobytes() for mel, _ in one}) == len(said)


def test_phones_come_in_order_and_are_where_they_sound():
    said = espeak.Utterance("anna bought the red hat on monday", "m3", 220, 50, 40.0, 1)
    ((mel, phones),) = espeak.speak([said], 1)
    starts, names = zip(*phones)
    assert list(starts) == sorted(starts) and starts[0] == 0 and starts[-1] < len(mel) + 3
    assert list(names[:3]) == ["a", "n", "@"] and names[-1] == "_"  # a-n-na ... and a pause
    low, high = (mel[:, bins].astype(np.float32).mean(1) for bins in (slice(2, 15), slice(50, 80)))
    for name, first, end in zip(names, starts, starts[1:-1]):  # the test's own knowledge of how phones look
        if name in ("t", "h"):
            assert low[first:end].mean() < 0 < high[first:end].mean(), name
        if name in ("E", "V", "O2", "n", "m"):
            assert low[first:end].mean() > 0, name


@pytest.mark.slow
def test_every_voice_says_the_same_again():
    said = utterances(2 * len(espeak.VOICES + espeak.UNSEEN_VOICES), espeak.VOICES + espeak.UNSEEN_VOICES)
    first, *others = ([mel.tobytes() for mel, _ in espeak.speak(said, 2)] for _ in range(4))
    for other in others:
        assert [said[i].voice for i in range(len(said)) if first[i] != other[i]] == []


def test_frames_are_normalised_and_last_as_long_as_the_speech():
    ((mel, _),) = espeak.speak([espeak.Utterance("anna bought the red hat on monday", "m3", 220, 50, 30.0, 1)], 1)
    assert 120 < len(mel) < 300
    assert np.abs(mel.astype(np.float32).mean(0)).max() < 0.01
    assert np.abs(mel.astype(np.float32).std(0) - 1).max() < 0.01


def test_seen_and_unseen_voices_are_apart():
    assert not set(espeak.VOICES) & set(espeak.UNSEEN_VOICES)
    assert len(set(espeak.VOICES)) == len(espeak.VOICES) >= 24


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_noise_has_the_power_asked_for(snr):
    wave = np.sin(np.arange(200_000, dtype=np.float32) / 7)
    noise = espeak.noisy(wave, snr, key=3) - wave
    assert 10 * np.log10(np.square(wave).mean() / np.square(noise).mean()) == pytest.approx(snr, abs=0.1)
    assert np.array_equal(espeak.noisy(wave, snr, key=3), espeak.noisy(wave, snr, key=3))


def test_a_failing_process_is_an_error(capfd):
    with pytest.raises(RuntimeError, match="ended with status 1"):
        list(espeak.speak([espeak.Utterance("one", "nobody", 220, 50, 30.0, 1)], 1))
    assert "no voice 'en-us+nobody'" in capfd.readouterr().err


def children() -> set[str]:
    """Processes that this one has started, ended ones that nobody waited for among them."""
    return {child for file in Path("/proc/self/task").glob("*/children") for child in file.read_text().split()}


def test_stopping_ends_the_processes():
    class Stop(Exception):
        pass

    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise Stop

    before, began = children(), time.monotonic()
    with pytest.raises(Stop):
        list(espeak.speak(utterances(20 * espeak.CHUNK), 2, check))
    assert time.monotonic() - began < 20
    assert children() <= before  # none is left to wait for


def test_without_espeak_the_user_is_told_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install espeakng-loader"):
        espeak.require()
