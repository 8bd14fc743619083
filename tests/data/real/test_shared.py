"""What training shares with dev and test: recordings are left out of it, speakers and ids are told, and only what is
there counts.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from real_files import Made, ids, small, tsv, utterances

from ablate.data.real.corpus import RealConfig
from ablate.errors import UserError

SPOKEN = ("speech.train", "pairs.train", "asr.train", "asr.dev", "asr.test", "retrieval.test", "digits.train")


def copied(root: Path, source: str, subset: str, name: str, text: str = "WHAT WAS HEARD") -> None:
    """Put a recording into another subset, under a name of its own."""
    speaker, chapter, _ = name.split("-")
    folder = root / "LibriSpeech" / subset / speaker / chapter
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / f"LibriSpeech/{source}.flac", folder / f"{name}.flac")
    with open(folder / f"{speaker}-{chapter}.trans.txt", "a") as file:
        file.write(f"{name} {text}\n")


def test_a_recording_of_test_is_in_no_training_split(root: Path, tmp_path: Path) -> None:
    before = ids(small(root), *SPOKEN[:6])
    copied(root, "test-other/5/1/5-1-0000", "train-clean", "7-1-0000")
    copied(root, "dev-clean/3/1/3-1-0000", "train-clean", "7-1-0001")
    copied(root, "test-other/5/1/5-1-0000", "dev-clean", "9-1-0000")
    made = Made(small(root), tmp_path / "out")
    assert {name: made.result(name)["rows"] for name in SPOKEN[:6]} == {
        "speech.train": 3,
        "pairs.train": 2,
        "asr.train": 2,
        "asr.dev": 1,  # dev gives way to test
        "asr.test": 1,
        "retrieval.test": 1,
    }
    assert {name: made.result(name)["left_out"] for name in SPOKEN[:4]} == {
        "speech.train": {
            "shorter than 0.1 s": 1,
            "the same recording is in asr.test_unseen": 1,
            "the same recording is in speech.dev": 1,
        },
        "pairs.train": {"the same recording is in asr.test_unseen": 1, "the same recording is in speech.dev": 1},
        "asr.train": {
            "longer than 2 s": 1,
            "shorter than 0.1 s": 1,
            "the same recording is in dev": 1,
            "the same recording is in test_unseen": 1,
        },
        "asr.dev": {"the same recording is in test_unseen": 1},
    }
    assert ids(small(root), *SPOKEN[:6]).keys() == before.keys()
    after = {name: one[0]["digest"] for name, one in ids(small(root), *SPOKEN[:6]).items()}
    assert after == {name: one[0]["digest"] for name, one in before.items()}  # the copies leave no trace
    notes = made.config.split("asr", "train").notes
    assert "asr.train: 1 recording is left out because asr.test_unseen has it: '7-1-0000'." in notes
    assert "asr.train: 1 of 6 rows left out, longer than 2 s (data.max_seconds)." in notes


def test_speakers_and_ids_of_test_are_told_and_stay(root: Path, tmp_path: Path) -> None:
    utterances(root, "train-clean", 5, "OTHER WORDS", "MORE OF THEM", "AND MORE", seed=55)  # as in test-other
    made = Made(small(root), tmp_path / "out")
    assert made.result("asr.train")["rows"] == 5 and "asr.dev" not in made.results
    assert made.result("asr.train")["shared"] == {
        "speakers": {"test_unseen": {"speakers": 1, "rows": 3}},
        "ids": {"test_unseen": {"rows": 1}},
    }
    assert made.result("speech.train")["shared"]["speakers"] == {"asr.test_unseen": {"speakers": 1, "rows": 3}}
    assert made.result("asr.test")["shared"] == {}
    assert made.config.split("asr", "train").notes[:2] == (
        "asr.train: 1 row has the id of other recordings in asr.test_unseen ('5-1-0000'); nothing is left out. Look "
        "whether they are the same.",
        "asr.train: 1 speaker (3 rows of 5) also speaks in asr.test_unseen; nothing is left out. If scores are to be "
        "of unseen voices, take these speakers out of one of the two.",
    )


def test_a_layout_that_does_not_name_speakers_shares_none(root: Path) -> None:
    folder = root / "LibriSpeech"
    for name, subset in (("train", "train-clean/1/1/1-1"), ("test", "test-clean/4/1/4-1")):
        (root / name / "wavs").mkdir(parents=True)
        shutil.copy(folder / f"{subset}-0000.flac", root / name / "wavs" / f"{name}.flac")
        tsv(root / f"{name}.tsv", str(root / name), f"wavs/{name}.flac\t16000")  # fairseq's: the voice is the folder
        tsv(root / f"{name}.wrd", "one two")
    config = small(root, asr=("train.tsv",), test="test.tsv", speech=(), pairs=()).resolved()
    assert config.split("asr", "train").notes == ()


def test_what_another_test_set_shares_leaves_training(root: Path) -> None:
    """A further test set alters the splits whose recordings it has, and no other."""
    before = ids(small(root), *SPOKEN[:6])
    names = ["LibriSpeech/train-lj/2/1/2-1-0000.flac", "LibriSpeech/train-clean/1/1/1-1-0000.flac"]
    tsv(root / "far.tsv", str(root), *[f"{name}\t1" for name in names])
    tsv(root / "far.wrd", "a long one", "one two")
    after = ids(small(root, tests={"asr.test_far": "far.tsv"}), *SPOKEN[:6])
    assert {name for name in before if before[name][0] != after[name][0]} == {
        "speech.train",
        "pairs.train",
        "asr.train",
    }


def test_a_split_that_is_all_in_test_is_refused(root: Path) -> None:
    with pytest.raises(
        UserError, match=r"No row of asr.train can be used \(1 × the same recording is in test_unseen\)"
    ):
        small(root, asr=("LibriSpeech/test-other",)).resolved().split("asr", "train")


def test_more_than_half_over_the_limit_is_refused(root: Path) -> None:
    assert small(root, max_seconds=1.2).resolved().split("asr", "train").config.rows == 2
    utterances(root, "train-clean", 6, "LONGER", "LONGER STILL", "AND THIS", seconds=1.5)
    said = (
        r"data.max_seconds would leave out more than half of asr.train \(4 × longer than 1.2 s, .* of 7 rows\); raise"
    )
    with pytest.raises(UserError, match=said):
        small(root, max_seconds=1.2).resolved().split("asr", "train")
    assert small(root, max_seconds=1.2).resolved().split("speech", "train").config.rows == 6  # which crops them


def test_skipped_recordings_of_other_tables_are_no_fault_of_this_one(root: Path, tmp_path: Path) -> None:
    """With faults skipped, a stage judges recordings by its own; those of other tables are judged for themselves."""
    clips = root / "covost/fr/clips"
    clips.mkdir(parents=True)
    for n in range(20):
        shutil.copy(root / "LibriSpeech/test-other/5/1/5-1-0000.flac", clips / f"{n}.flac")
        with open(clips / f"{n}.flac", "ab") as file:
            file.write(bytes(n))
    for split in ("train", "dev"):
        rows = [f"{n}.flac\tsaid {split} {n}\ttold {n}\tann" for n in range(20)]
        tsv(root / f"covost/covost_v2.fr_en.{split}.tsv", "path\tsentence\ttranslation\tclient_id", *rows)
    config = small(root, translation="covost", directions=("fr_en",), on_error="skip", test_unseen="")
    assert Made(config, tmp_path / "out").result("speech.train")["skipped"] == []


def test_only_what_is_read_must_be_there(root: Path) -> None:
    shutil.rmtree(root / "LibriSpeech/test-other"), shutil.rmtree(root / "glue/RTE")
    config = RealConfig(root=str(root)).resolved()
    assert config.split("text", "train").config.rows and config.split("sentiment", "dev").config.rows
    with pytest.raises(
        UserError, match=r"lacks data.test_unseen \(LibriSpeech/test-other\), data.sentence_pair \(glue"
    ):
        config.need([("asr", "train"), ("asr", "test_unseen"), ("sentence_pair", "dev")])
    with pytest.raises(UserError, match=r"lacks data.test_unseen \(LibriSpeech/test-other\); add the files"):
        config.split("asr", "test_unseen")
