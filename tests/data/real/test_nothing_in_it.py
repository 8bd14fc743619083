"""Splits without a row are named by planning, with the files that should hold them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile
from real_files import cache, root, small  # noqa: F401

from ablate.errors import UserError


@pytest.mark.parametrize("content", ["", "\n\n", "client_id\tpath\tsentence\n"])
def test_a_split_of_nothing_names_its_source(root, content):  # noqa: F811
    (root / "none.tsv").write_text(content)
    (root / "clips").mkdir()
    with pytest.raises(UserError, match="No row of asr.train can be used .there is none in none.tsv"):
        small(root, asr=("none.tsv",)).resolved().split("asr", "train")


def test_an_empty_table_is_called_that(root):  # noqa: F811
    (root / "glue/SST-2/train.tsv").write_text("")
    with pytest.raises(UserError, match="train.tsv: is empty, expected a line with the columns sentence, label"):
        small(root, sentiment="glue/SST-2").resolved().split("sentiment", "train")


def test_channels_that_are_averaged_are_told(root):  # noqa: F811
    assert not any("channels" in note for note in small(root).resolved().split("asr", "train").notes)
    file = next((root / "LibriSpeech/train-clean").rglob("*.flac"))
    wave, rate = soundfile.read(file)
    soundfile.write(file, np.stack([wave, wave / 2, wave], 1), rate)
    notes = small(root).resolved().split("asr", "train").notes
    (told,) = [note for note in notes if "channels" in note]
    assert told.startswith("data: recordings of LibriSpeech/train-clean have up to 3 channels, which are averaged (")
    assert file.name in told


@pytest.mark.parametrize("kind", ["fairseq", "lhotse"])
def test_a_manifest_made_for_other_files_is_told(root, kind):  # noqa: F811
    sounds = {name: len(soundfile.read(root / name)[0]) for name in ("a.wav", "b.wav") if spoken(root / name)}

    def notes(**stated):
        stated = {f"{name}.wav": samples for name, samples in stated.items()}
        cuts = [cut(name, samples) for name, samples in stated.items()]
        lines = cuts if kind == "lhotse" else [".", *(f"{name}\t{samples}" for name, samples in stated.items())]
        (root / "list.jsonl" if kind == "lhotse" else root / "list.tsv").write_text("\n".join(lines) + "\n")
        config = small(root, speech=("list.jsonl" if kind == "lhotse" else "list.tsv",))
        return [note for note in config.resolved().split("speech", "train").notes if "as long as" in note]

    assert not notes(a=sounds["a.wav"], b=sounds["b.wav"] + 1152)  # a frame of MPEG more
    (told,) = notes(a=sounds["a.wav"], b=80_000)
    assert "1 recording of list" in told and "is not as long as it states (b.wav: 1.00 s, not 5.00)" in told
    (told,) = notes(a=160_000, b=80_000)
    assert "2 recordings of list" in told and "are not as long as it states (a.wav: 1.00 s, not 10.00)" in told


def spoken(path):
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    return path


def cut(name, samples):
    recording = {"id": name, "duration": samples / 16_000, "sampling_rate": 16_000, "num_samples": samples}
    recording["sources"] = [{"type": "file", "channels": [0], "source": name}]
    return json.dumps({"id": name, "start": 0, "duration": samples / 16_000, "channel": 0, "recording": recording})
