"""Splits without a row are named by planning, with the files that should hold them."""

from __future__ import annotations

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
