"""Recordings that are in training and test are found by what is decoded, whatever files they lie in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from ablate.data import audio
from ablate.data.repeated import repeated
from ablate.data.table import Table, TableWriter


def table(folder: Path, name: str, *mels: np.ndarray) -> Table:
    with TableWriter(folder / name) as writer:
        for number, mel_FM in enumerate(mels):
            writer.add({"id": str(number)}, mel_FM)
    return Table(folder / name, name)


def test_equal_frames_are_found_and_near_ones_are_not(tmp_path):
    a, b, c = (np.random.default_rng(n).normal(size=(9, 80)).astype(np.float16) for n in range(3))
    near = a.copy()
    near[0, 0] += 1  # as long, and with the same frame in the middle
    test = table(tmp_path, "test", a, b, c[:7], a)
    assert repeated(table(tmp_path, "train", near, c, b, b), test) == [1]
    assert repeated(table(tmp_path, "more", a, c[:7]), test) == [0, 2, 3]
    texts = table(tmp_path, "none")
    assert repeated(texts, test) == [] == repeated(test, texts)


def test_wav_and_flac_are_decoded_alike(tmp_path):
    wave = (np.random.default_rng(0).normal(size=4000) * 3000).astype(np.int16)
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, wave, 8000)
    mels = [audio.features(audio.Recording(str(tmp_path / name)), "bins") for name in ("a.wav", "a.flac")]
    assert repeated(table(tmp_path, "train", mels[0]), table(tmp_path, "test", mels[1])) == [0]
