"""`data.mix`: what a corpus is, which names are refused, and that ids follow from content, not from names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real_files import Made, cache, ids, root, small, tsv, utterances  # noqa: F401

from ablate.data.packing import SpeechStream
from ablate.data.real import mixing
from ablate.data.real.settings import RealSettings
from ablate.errors import UserError

SOURCES: dict[str, Any] = {
    "speech": ("mls/fr/train.tsv", "mls/en/train.tsv", "cv/fr/train.tsv"),
    "text": ("text/a.en.txt", "text/b.txt"),
    "pairs": ("mls/fr/train.tsv",),
}


def corpora(table: str, **mix: float) -> dict[str, str]:
    """The corpus of each source."""
    settings = RealSettings(**SOURCES, mix=mix)
    mixing.check(settings)
    made = mixing.corpora(settings, (table, "train"))
    return {source: made.names[number] for source, number in made.of.items()}


def test_a_corpus_is_a_source_or_what_a_name_holds_together() -> None:
    fr, en, cv = SOURCES["speech"]
    assert corpora("speech") == {}
    assert corpora("speech", temperature=3) == {one: one for one in SOURCES["speech"]}
    assert corpora("speech", mls=1, cv=2) == {fr: "mls", en: "mls", cv: "cv"}
    assert corpora("speech", fr=1, en=2) == {fr: "fr", en: "en", cv: "fr"}
    assert corpora("speech", **{"mls/fr": 1, "mls/en": 2, "cv/fr/train.tsv": 0})[cv] == "cv/fr/train.tsv"
    assert corpora("text", a=1, b=2) == {"text/a.en.txt": "a", "text/b.txt": "b"}
    assert corpora("text", mls=1, cv=2) == {}  # nothing of it is named, and there is no temperature
    assert corpora("text", mls=1, cv=2, temperature=3) == {one: one for one in SOURCES["text"]}
    assert corpora("pairs", fr=1, en=2) == corpora("pairs", temperature=3) == {}  # one corpus is not mixed
    assert not mixing.corpora(RealSettings(**SOURCES, mix={"temperature": 3}), ("speech", "dev")).names


@pytest.mark.parametrize(
    ("mix", "why"),
    [
        ({"temperature": 0}, "data.mix.temperature is 0, expected more than 0"),
        ({"mlss": 1}, "data.mix has 'mlss', which is in no path of .*: did you mean 'mls'"),
        ({"temprature": 3}, "data.mix has 'temprature', .* did you mean 'temperature'"),
        ({"mls": 1}, "names mls/fr/train.tsv and mls/en/train.tsv of data.speech, but not cv/fr/train.tsv; give it a"),
        ({"mls": 1, "fr": 1}, "has 'mls' and 'fr', which both name mls/fr/train.tsv of data.speech; leave one out"),
        ({"mls": 0, "cv": 0}, "gives all corpora of data.speech the weight 0"),
    ],
)
def test_names_and_weights_that_are_refused(mix: dict[str, float], why: str) -> None:
    with pytest.raises(UserError, match=why):
        corpora("speech", **mix)


def texts(root: Path) -> None:  # noqa: F811
    tsv(root / "text/other.txt", *(f"other {n}" for n in range(30)), "LINE 7")


TEXT = ("text/librispeech_lm.txt", "text/other.txt")


def test_ids_follow_from_which_rows_are_of_one_corpus(root: Path, tmp_path: Path) -> None:  # noqa: F811
    texts(root)
    plain = ids(small(root, text=TEXT))
    mixed = ids(small(root, text=TEXT, mix={"temperature": 3.0}))
    assert {name for name in plain if plain[name] != mixed[name]} == {"speech.train", "text.train"}
    for name in ("speech.train", "text.train"):
        form = dict(mixed[name][0])
        assert len(form.pop("corpora")) == 32 and [form, *mixed[name][1:]] == plain[name]
    weighted = {"train-clean": 1.0, "train-lj": 2.0, "librispeech_lm": 3.0, "other": 0.5}
    assert ids(small(root, text=TEXT, mix=weighted)) == mixed  # the same corpora by other names
    shutil.move(root / "LibriSpeech/train-lj", root / "lj")
    shutil.move(root / "text/other.txt", root / "a.txt")
    moved = {"speech": ("lj", "LibriSpeech/train-clean"), "asr": ("lj", "LibriSpeech/train-clean")}
    config = small(root, text=("a.txt", TEXT[0]), mix={"temperature": 1.0}, **moved)
    assert {name: forms[0] for name, forms in ids(config).items()} == {name: forms[0] for name, forms in mixed.items()}
    first, second = (
        one.resolved().split("speech", "train").mix
        for one in (
            small(root, mix={"lj": 1.0, "LibriSpeech": 4.0}, **moved),
            small(root, mix={"LibriSpeech": 2.0, "lj": 0.5}, **moved),
        )
    )
    assert first == second and sorted(zip(first.names, first.weights)) == [("LibriSpeech", 1.0), ("lj", 0.25)]


def test_a_table_says_the_corpus_of_each_row_as_the_mix_counts_them(root: Path, tmp_path: Path) -> None:  # noqa: F811
    texts(root)
    made = Made(small(root, text=TEXT, mix={"temperature": 2.0}), tmp_path / "made")
    for name in ("speech.train", "text.train"):
        table, mix = made.table(name), made.config.split(*name.split(".")).mix
        rows = [(mix.names[corpus], row) for corpus, row in zip(table.corpus, table.rows)]
        assert len(mix.names) == len(mix.weights) == 2 and "_source" not in table.fields
        if name == "text.train":
            assert all(row["id"].startswith(Path(name).name) for name, row in rows)
            assert {row["text"].split()[0] for name, row in rows if name == TEXT[1]} == {"other", "line"}
        else:
            assert all((row["id"][0] == "1") == (name == "LibriSpeech/train-clean") for name, row in rows)
    stream = SpeechStream(made.table("speech.train"), 0, 1600, 0, made.config.split("speech", "train").mix)
    assert set(stream.exposure(50)["corpora"]) == {"LibriSpeech/train-clean", "LibriSpeech/train-lj"}
    plain = Made(small(root, text=TEXT), tmp_path / "plain").table("text.train")
    mixed = made.table("text.train")
    assert [row["text"] for row in plain.rows] == [row["text"] for row in mixed.rows]
    assert not (plain.folder / "corpus.i64").exists()


def test_equal_rows_of_two_corpora_are_told_apart_by_content_alone(root: Path, tmp_path: Path) -> None:  # noqa: F811
    """A row that is in both corpora is drawn with each."""
    tsv(root / "text/other.txt", *(f"LINE {n}" for n in range(5)))
    configs = [small(root, text=text, mix={"temperature": 2.0}) for text in (TEXT, TEXT[::-1])]
    assert ids(configs[0], "text.train") == ids(configs[1], "text.train")
    tables = [Made(config, tmp_path / str(n)).table("text.train") for n, config in enumerate(configs)]
    np.testing.assert_array_equal(tables[0].corpus, tables[1].corpus)
    assert min(np.bincount(tables[0].corpus)) >= 4


def test_a_corpus_without_rows_is_refused_while_planning_unless_its_weight_is_0(root: Path) -> None:  # noqa: F811
    utterances(root, "clicks", 7, "A CLICK", seconds=0.05)
    speech = ("LibriSpeech/train-clean", "LibriSpeech/train-lj", "LibriSpeech/clicks")
    with pytest.raises(UserError, match="data.mix has a weight for LibriSpeech/clicks, which has no row to pre-train"):
        small(root, speech=speech, mix={"temperature": 2.0}).resolved().split("speech", "train")
    mix = {"train-clean": 1.0, "train-lj": 1.0, "clicks": 0.0}
    made = small(root, speech=speech, mix=mix).resolved().split("speech", "train").mix
    assert sorted(made.names) == ["train-clean", "train-lj"]
