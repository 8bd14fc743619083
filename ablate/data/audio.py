"""Read a recording of any common format as 16 kHz mono, or say in one sentence why it cannot be read."""

from __future__ import annotations

import re
from functools import lru_cache
from math import gcd
from pathlib import Path

import numpy as np
import soundfile

from ablate.errors import UserError

RATE = 16000  # samples per second of everything that is made into features

_TOLD_AND_FOUND = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = 2**31 - 2  # writers that cannot seek back leave a length this large or larger in a WAV header


def read(path: Path, rate: int = RATE) -> np.ndarray:
    """Return a wav, flac, ogg or mp3 file as float32 samples at `rate`, channels averaged.

    Raises UserError naming the file if it is absent, no audio, empty, cut off, or holds samples that are no numbers.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such audio file.")
    try:
        with soundfile.SoundFile(path) as file:
            told, own_rate = file.frames, file.samplerate
            wave = file.read(dtype="float32", always_2d=True)
            told_and_found = _TOLD_AND_FOUND.search(file.extra_info)
            lossy = file.format == "MP3"
    except soundfile.LibsndfileError as error:
        why = error.error_string.rstrip(".")
        raise UserError(f"{path}: cannot be read as audio ({why}); replace the file.") from error
    if len(wave) == 0:
        raise UserError(f"{path}: holds no audio; replace the file.")
    # Without an index the length of an MP3 is an estimate.
    short = len(wave) < told * (0.9 if lossy else 1.0)
    if told_and_found is not None:  # libsndfile trusts the size of a WAV file over its header, and says so only here
        length, found = map(int, told_and_found.groups())
        short |= found < length < _STREAMED
    if short:
        raise UserError(f"{path}: is cut off (its header tells of more audio than there is); copy the file again.")
    if not np.isfinite(wave).all():
        raise UserError(f"{path}: holds samples that are not finite numbers; replace the file.")
    return resample(wave.mean(axis=1), own_rate, rate)


def resample(wave: np.ndarray, rate: int, to: int = RATE) -> np.ndarray:
    """Resample float32 samples from `rate` to `to` with a polyphase low-pass filter; length ceil(n * to / rate)."""
    if rate == to:
        return wave
    from scipy.signal import resample_poly  # half a second to import, and most corpora need none of it

    divisor = gcd(rate, to)
    up, down = to // divisor, rate // divisor
    return resample_poly(wave, up, down, window=_low_pass(max(up, down))).astype(np.float32, copy=False)


@lru_cache(maxsize=8)
def _low_pass(ratio: int) -> np.ndarray:
    """The filter that `resample_poly` would design anew for every call (its default), which took most of its time."""
    from scipy.signal import firwin

    return firwin(20 * ratio + 1, 1 / ratio, window=("kaiser", 5.0)).astype(np.float32)
