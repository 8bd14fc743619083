"""The recordings that `python -m ablate.bench.files` plans over: a corpus in LibriSpeech's layout, each recording
another.
"""

import hashlib

import pytest
import soundfile

from ablate.bench import files
from ablate.data.real.layouts import registry


def test_files_are_a_corpus_of_different_recordings(tmp_path):
    size = files.write(tmp_path, 2_620)
    by_split = {split: list(registry.rows(tmp_path / "LibriSpeech" / split)) for split in files.SPLITS}
    assert {split: len(rows) for split, rows in by_split.items()} == {
        "train": 2_464,
        "dev-clean": 52,
        "test-clean": 52,
        "test-other": 52,
    }
    rows = [row for split in by_split.values() for row in split]
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == 2_620
    recordings = sorted((tmp_path / "LibriSpeech").rglob("*.flac"))
    heads = [path.read_bytes() for path in recordings]
    assert len(heads) == 2_620 and {len(head) for head in heads} == {size} and size < 200
    assert len({head[files.DIGEST] for head in heads}) == 2_620
    assert len({head[: files.DIGEST.start] + head[files.DIGEST.stop :] for head in heads}) == 1
    samples, rate = soundfile.read(recordings[-1])
    assert (len(samples), rate) == (8_000, 16_000)


def test_the_digest_lies_where_flac_keeps_it(tmp_path):
    """The MD5 of 8,000 samples of 16 bits, all zero: as the encoder wrote it, before another takes its place."""
    assert files.silence()[files.DIGEST] == hashlib.md5(bytes(16_000)).digest()
    assert files.silence()[:4] == b"fLaC"


@pytest.mark.slow
def test_planning_them_is_timed_in_a_process_with_a_cache_of_its_own(tmp_path, capsys):
    assert files.main(["--recordings", "100", "--folder", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert (
        "100 recordings of " in said and "planned again, unchanged" in said and "limit of planning again: 10 s" in said
    )
    assert list(tmp_path.iterdir()) == []
