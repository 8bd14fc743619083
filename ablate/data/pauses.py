"""Cut a long recording at its pauses, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ablate.data import audio
from ablate.data.audio import Recording

STEP = 0.01  # seconds between two powers
BLOCK = 30.0  # seconds that are read at a time
SPAN = 11  # steps over which power is averaged: longer than the closure of most stops within a word
MARGIN = 5  # steps of a pause that a piece keeps at either end
BELOW = 25.0  # dB below the loud parts around it: a pause
SILENT, LEAST = 40.0, 20.0  # dB below the loud parts of the whole recording: a pause, too; and never one
ABOVE = 6.0  # dB above the recording's floor: a pause, too, unless it is less than LEAST below the loud parts
FLOOR = 5  # percentile of levels that counts as the floor
LASTING = 10  # steps that a pause lasts
LOUD = 95  # percentile of levels that counts as loud


def pieces(path: Path | str, seconds: float, shortest: float, longest: float) -> list[Recording]:
    """The parts of an audio file of so many seconds that hold sound, each between two pauses; none if it is silent.

    A piece ends at the first pause after `shortest` seconds. Where none comes before `longest`, it ends where the sound
    is quietest in between. Raises UserError as `audio.read` does.
    """
    audio.check_length(Path(path))
    powers, first = [], 0.0
    while first < seconds - STEP / 2:
        last = first + BLOCK if seconds - first > 1.5 * BLOCK else None
        powers.append(_powers(*audio.samples(Recording(path, first, last))))
        first = seconds if last is None else last
    power_F = np.concatenate(powers)
    places = cut(power_F, round(shortest / STEP), round(longest / STEP))
    return [Recording(path, a * STEP, None if b == len(power_F) else b * STEP) for a, b in places]


def _powers(wave: np.ndarray, rate: int) -> np.ndarray:
    """Variance of the samples of each step, so that an offset counts as nothing."""
    step = round(STEP * rate)
    wave = wave[: len(wave) // step * step] if len(wave) >= step else np.pad(wave, (0, step - len(wave)))
    return wave.reshape(-1, step).var(1)


def cut(power_F: np.ndarray, shortest: int, longest: int) -> list[tuple[int, int]]:
    """The pieces of a recording, given its power at each step: [first, last) each, in steps."""
    count = len(power_F)
    sums = np.concatenate([[0.0], np.cumsum(power_F, dtype=np.float64)])
    ends = np.clip(np.arange(count)[:, None] + [-(SPAN // 2), SPAN // 2 + 1], 0, count)
    level_F = 10 * np.log10(np.maximum(sums[ends[:, 1]] - sums[ends[:, 0]], 0) / (ends[:, 1] - ends[:, 0]) + 1e-12)
    if not power_F.max() >= audio.SILENCE**2 / 4:
        return []
    floor, top = np.percentile(level_F, (FLOOR, LOUD))
    silence = max(top - SILENT, min(floor + ABOVE, top - LEAST))
    found, start = [], 0
    while start < count:
        around_F = level_F[start : start + longest]
        quiet_F = around_F < max(np.percentile(around_F, LOUD) - BELOW, silence)
        if quiet_F.all():
            start += len(quiet_F)
            continue
        first = max(start, start + int(quiet_F.argmin()) - MARGIN)
        after_F, loud = (
            level_F[first + shortest : first + longest],
            np.percentile(level_F[first : first + longest], LOUD),
        )
        pause_F = _lasting(after_F < max(loud - BELOW, silence))
        if len(pause_F):
            last = first + shortest + int(pause_F[0]) + MARGIN
        elif count - first <= longest:
            last = count
        else:
            last = first + shortest + int(after_F.argmin())
        last = min(last, first + longest, count)
        found.append((min(first, max(0, last - shortest)), last))
        start = last
    return found


def _lasting(quiet_F: np.ndarray) -> np.ndarray:
    """Where LASTING steps that are quiet begin."""
    if len(quiet_F) < LASTING:
        return np.empty(0, np.int64)
    return np.flatnonzero(np.lib.stride_tricks.sliding_window_view(quiet_F, LASTING).all(1))
