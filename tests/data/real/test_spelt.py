"""Real corpora are composed when they are read, and only scores that new rules can change get new ids."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from real_files import Made, cache, ids, root, small, tsv, utterances  # noqa: F401  fixtures

from ablate.data.real import canonical

TEXTS = ("Ọjọ́ dára", "Tiếng Việt İzmir", "शहर ड़ा")


def spoken(folder: Path, form: str, test: str) -> Path:
    for speaker, subset in enumerate(("train-clean", "dev-clean", "test-clean"), 1):
        texts = {"train-clean": TEXTS, "dev-clean": ("Élodie",), "test-clean": (test,)}[subset]
        utterances(folder, subset, speaker, *(unicodedata.normalize(form, text) for text in texts))
    tsv(folder / "text.txt", *(unicodedata.normalize(form, f"{text} {n}") for text in TEXTS for n in range(4)))
    return folder


def config(folder: Path, **fields):
    sources = dict.fromkeys(("speech", "pairs", "asr"), ("LibriSpeech/train-clean",))
    off = {"sentiment": "", "sentence_pair": "", "normalization": "", "test_unseen": "", "text": ("text.txt",)}
    return small(folder, **sources, **off, **fields)


def test_texts_are_composed(tmp_path):
    made = Made(config(spoken(tmp_path / "nfd", "NFD", "Việt")), tmp_path / "made")
    expected = ["tiếng việt izmir", "ọjọ́ dára", unicodedata.normalize("NFC", "शहर ड़ा")]
    assert sorted(row["text"] for row in made.table("asr.train").rows) == sorted(expected)
    assert [row["text"] for row in made.table("asr.test").rows] == ["việt"]
    assert {row["text"].rpartition(" ")[0] for row in made.table("text.train").rows} == set(expected)


def test_however_texts_are_typed_they_are_the_same_data(tmp_path):
    nfc, nfd = (ids(config(spoken(tmp_path / form, form, "Việt"))) for form in ("NFC", "NFD"))
    assert nfc == nfd


@pytest.mark.parametrize("text, scoring", [("PLAIN DON'T", None), ("THE DOGS' DAY", 2), ("Việt", 2)])
def test_ids_of_splits_change_where_their_scores_do(tmp_path, text, scoring):
    forms = ids(config(spoken(tmp_path, "NFC", text)))
    assert forms["asr.test"][0].get("scoring") == scoring
    assert forms["asr.dev"][0]["scoring"] == 2
    assert all(
        "scoring" not in forms[name][0]
        for name in ("asr.train", "pairs.train", "speech.train", "text.train", "text.dev")
    )


@pytest.mark.parametrize("spoken, scoring", [("three", None), ("the dogs’", 2)])
def test_written_and_spoken_text(root, spoken, scoring):  # noqa: F811  the fixture
    tsv(root / "text_normalization" / "test.tsv", "written\tspoken", f"III\t{spoken}")
    forms = ids(small(root), "normalization.test", "sentiment.test")
    assert forms["normalization.test"][0].get("scoring") == scoring and "scoring" not in forms["sentiment.test"][0]


@pytest.mark.parametrize(
    "row, disputed",
    [
        ({"direction": "fr_en", "text": "été", "translation": "d'été"}, False),
        ({"direction": "en_de", "text": "a", "translation": "Häuser '"}, False),
        ({"direction": "en_zh-CN", "text": "a", "translation": "b"}, True),
        ({"text": "a", "translation": "本"}, True),
        ({"text": "été", "label": "positive"}, False),
    ],
)
def test_scores_that_depend_on_the_target_language(row, disputed):
    assert canonical.disputed(row) == disputed
