"""What a recording is like is a few numbers, and what is unlike a training is found by them."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from ablate.data import likeness
from ablate.data.likeness import FLOOR, Likeness, described, learnt
from encoders import frontend

RATE = 16_000


def test_frames_that_do_not_change_are_at_the_floor():
    got = described(np.ones((30, 80), np.float16))
    floor = math.log(FLOOR)
    np.testing.assert_allclose(got, [floor, 0, 0, 0, floor, 0, 0, 0, floor, 0, 0, floor, floor], atol=1e-9)


def test_a_ramp_over_time_changes_by_its_slope():
    ramp_FM = np.repeat(np.arange(40.0)[:, None], 80, axis=1)
    log = [math.log(k * k + FLOOR) for k in (1, 2, 4, 8)]
    times = [log[0], log[1] - log[0], log[2] - log[1], log[3] - log[2]]
    over = math.log((40**2 - 1) / 12 + FLOOR)  # variance of 0 ... 39
    wanted = [*times, *times, math.log(FLOOR), 0, 0, over, over]
    np.testing.assert_allclose(described(ramp_FM), wanted, atol=1e-5)


def test_a_recording_of_one_frame_is_described():
    assert np.isfinite(described(np.random.default_rng(0).normal(size=(1, 80)))).all()


def spoken(seed: int, seconds: float = 1.0, pitch: float = 120.0) -> np.ndarray:
    """Normalised log-mel of buzzes with wandering formants between pauses, in a little noise."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    syllables = np.clip(np.sin(2 * math.pi * (4 + random.normal(0, 0.4)) * time + random.uniform(0, 6)), 0.02, 1)
    wave = 0.003 * random.standard_normal(len(time))
    for number in range(1, 30):
        pitch_now = pitch * (1 + 0.1 * random.normal())
        shape = 1 / (1 + ((number * pitch_now - 600 - 400 * np.sin(3 * time + random.uniform(0, 6))) / 300) ** 2)
        wave += 0.1 * shape * np.sin(2 * math.pi * number * pitch_now * time) * syllables
    return mel(wave)


def mel(wave: np.ndarray) -> np.ndarray:
    return frontend.levelled(frontend.log_mel(torch.from_numpy(wave.astype(np.float32)))).numpy()


@pytest.fixture(scope="module")
def known() -> Likeness:
    return learnt([spoken(n) for n in range(80)], [spoken(n, pitch=150.0) for n in range(1000, 1030)])


def test_what_is_no_speech_is_far_and_new_speech_is_not(known):
    time, random = np.arange(RATE) / RATE, np.random.default_rng(0)
    white = random.standard_normal(RATE)
    chord = sum(np.sin(2 * math.pi * hertz * time) for hertz in (220, 277, 330, 440, 554, 660))
    others = {
        "noise": 0.1 * white,
        "faint noise": 1e-4 * white,
        "tone": 0.3 * np.sin(2 * math.pi * 440 * time),
        "hum": sum(np.sin(2 * math.pi * 50 * k * time) / k for k in range(1, 8)) + 1e-3 * white,
        "chords": 0.1 * chord * np.exp(-3 * (time % 0.25)),
        "silence": np.round(2e-5 * white * 2**15) / 2**15,
    }
    assert {name: known.far(mel(wave)) > 1 for name, wave in others.items()} == dict.fromkeys(others, True)
    assert sum(known.far(spoken(n, pitch=135.0)) > 1 for n in range(2000, 2020)) <= 1


def test_it_is_kept_as_json_and_needs_enough_recordings(known):
    again = Likeness(**json.loads(json.dumps(dataclasses.asdict(known))))
    assert again.far(spoken(1)) == known.far(spoken(1))
    few = [spoken(n) for n in range(likeness.FEWEST - 1)]
    assert learnt(few * 2, few) is None and learnt(few, few * 2) is None


def test_the_bound_is_three_deviations_above_the_mean_of_the_logarithm(known):
    log = np.log([known.far(spoken(n, pitch=150.0)) for n in range(1000, 1030)])
    assert log.mean() + 3 * log.std() == pytest.approx(0, abs=1e-9)
