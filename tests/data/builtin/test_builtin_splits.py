"""Splits of the built-in corpus: what each depends on, who speaks it, and the files it is written to."""

import hashlib
import json
from dataclasses import fields, replace

import numpy as np
import pytest
from small_world import SMALL, drawn, places

from ablate.data.builtin import corpus, sample
from ablate.data.builtin.corpus import BuiltinConfig, BuiltinSpeech
from ablate.data.recordings import Recordings
from ablate.data.stated import StatedConfig
from ablate.data.table import Table
from ablate.errors import UserError
from ablate.sweepfile.typed import typed


def test_a_split_drawn_alone_is_the_split_drawn_with_all_others():
    together = list(SMALL.entries())
    for place in reversed(places(SMALL)):
        assert drawn(SMALL, *place) == [e.row_of(place[0]) for e in together if place in e.places], place


def test_planning_draws_and_speaks_nothing(monkeypatch):
    monkeypatch.setattr(sample, "World", None)
    monkeypatch.setattr(corpus.espeak, "speak", None)
    for place in places(SMALL):
        SMALL.split(*place)
    with pytest.raises(TypeError):
        drawn(SMALL, "asr", "test")


COUNTS = (
    "speech",
    "text",
    "pairs",
    "asr",
    "translation",
    "sentiment",
    "sentence_pair",
    "normalization",
    "dev",
    "test",
    "retrieval",
    "text_dev",
    "text_test",
)


def test_larger_sizes_keep_every_earlier_row_where_it_is():
    larger = replace(SMALL, **{name: 3 * getattr(SMALL, name) + 1 for name in COUNTS})
    for place in places(SMALL):
        small, large = drawn(SMALL, *place), drawn(larger, *place)
        assert len(large) == 3 * len(small) + 1 and large[: len(small)] == small, place


SPOKEN = {
    *(("asr", split) for split in ("train", "dev", "test", "test_unseen")),
    *(("translation", split) for split in ("train", "dev", "test")),
    *((table, split) for table in ("speech", "pairs") for split in ("train", "dev")),
    ("retrieval", "dev"),
    ("retrieval", "test"),
}
TESTED = {(table, split) for table in ("asr", "translation", "retrieval") for split in ("dev", "test")}
LABELS = {("asr", "train"), ("sentiment", "train"), ("sentence_pair", "train")}
READERS = {  # of every setting: the splits whose rows it changes
    **{
        name: {(name, "train")}
        for name in ("speech", "text", "pairs", "asr", "translation", "sentiment", "sentence_pair", "normalization")
    },
    "asr_pairs": {("asr", "train")},
    "dev": {(table, "dev") for table in ("asr", "translation", "retrieval", "speech", "pairs")},
    "test": {("asr", "test"), ("asr", "test_unseen"), ("translation", "test")},
    "retrieval": {("retrieval", "test")},
    "text_dev": {(table, "dev") for table in ("text", "sentiment", "sentence_pair", "normalization")},
    "text_test": {(table, "test") for table in ("sentiment", "sentence_pair", "normalization")},
    "speech_voices": {(table, split) for table in ("speech", "pairs") for split in ("train", "dev")},
    "label_voices": {("asr", "train"), ("translation", "train")},
    "test_voices": TESTED,
    "unseen_voices": {("asr", "test_unseen")},
    **dict.fromkeys(("rate_low", "rate_high", "pitch_low", "pitch_high", "snr_low", "snr_high"), SPOKEN),
    "seed": set(places(SMALL)),
    "coverage": set(places(SMALL)) - {("sentence_pair", "dev"), ("sentence_pair", "test")},
    "rare": set(places(SMALL)) - LABELS - {("sentence_pair", "dev"), ("sentence_pair", "test")},
}
CHANGES = {
    "asr_pairs": True,
    "coverage": 0.9,
    "rare": 0.05,
    "rate_low": 150,
    "rate_high": 320,
    "pitch_low": 10,
    "pitch_high": 90,
    "snr_low": 0.0,
    "snr_high": 60.0,
    "speech_voices": 20,
}


@pytest.mark.parametrize("name", [field.name for field in fields(BuiltinConfig)])
def test_a_setting_changes_the_splits_that_read_it(name):
    """Their identity, and how rows are drawn and spoken, of exactly these."""
    changed = replace(SMALL, **{name: CHANGES.get(name, 2 * getattr(SMALL, name) + 1)})
    differ = {place for place in places(SMALL) if changed.split(*place).config != SMALL.split(*place).config}
    assert differ == READERS[name]

    def content(config, place):
        return [(e.row, e.said) for own in config.split(*place).config.samples for e in own.entries()]

    assert {place for place in places(SMALL) if content(changed, place) != content(SMALL, place)} == differ


def test_with_pairs_among_the_labels_what_changes_pairs_changes_labels():
    config = replace(SMALL, asr_pairs=True)
    for change in ({"pairs": 31}, {"speech_voices": 20}, {"rare": 0.9}):
        changed = replace(config, **change).split("asr", "train").config
        assert changed != config.split("asr", "train").config
        assert changed.sample == config.split("asr", "train").config.sample


def test_a_sample_is_spoken_once_for_all_that_hold_it():
    def speech(config):
        return {place: config.split(*place).recordings for place in places(config)}

    spoken = speech(SMALL)
    assert {place for place in spoken if spoken[place]} == SPOKEN
    names = {own.sample.name for recordings in spoken.values() for own in recordings}
    assert len({own for recordings in spoken.values() for own in recordings}) == len(names) == 9
    (test,) = spoken["asr", "test"]
    assert test.sample.rows == 10
    assert spoken["asr", "test"] == spoken["translation", "test"] == spoken["retrieval", "test"]
    assert spoken["asr", "dev"] == spoken["translation", "dev"] == spoken["retrieval", "dev"]
    larger = replace(SMALL, retrieval=50)
    assert larger.split("asr", "test").config == SMALL.split("asr", "test").config
    assert larger.split("asr", "test").recordings[0].sample.rows == 50
    with_pairs = speech(replace(SMALL, asr_pairs=True))
    assert with_pairs["asr", "train"] == (*spoken["asr", "train"], *spoken["pairs", "train"])


def test_splits_have_items_of_many_sentences_alike_often():
    config = BuiltinConfig(text=2000, text_dev=400, text_test=600)
    long = {}
    for table, split in (("text", "train"), ("text", "dev"), ("sentence_pair", "train"), ("sentence_pair", "test")):
        sizes = [len(set(e.sentences)) == 3 for e in config.split(table, split).config.sample.entries()]
        long[table, split] = sum(sizes) / len(sizes)
    assert 0.42 < long["text", "train"] < 0.5 and abs(long["text", "train"] - long["text", "dev"]) < 0.08
    assert 0.03 < long["sentence_pair", "train"] < 0.07
    assert abs(long["sentence_pair", "train"] - long["sentence_pair", "test"]) < 0.02


def test_voices_keep_their_roles_when_there_are_more():
    def heard(**counts):
        config = replace(SMALL, **counts)
        config.resolved()
        return {
            split: set(config.split(*split.split(".")).config.sample.spoken_by())
            for split in (
                "speech.train",
                "pairs.dev",
                "asr.train",
                "translation.train",
                "asr.dev",
                "retrieval.test",
                "asr.test_unseen",
            )
        }

    few = {"speech_voices": 6, "label_voices": 1, "test_voices": 2, "unseen_voices": 3}
    before = heard(**few)
    for name, more in (("speech_voices", 28), ("label_voices", 2), ("test_voices", 4), ("unseen_voices", 10)):
        after = heard(**{**few, name: more})
        for split in before:
            assert before[split] <= after[split] and len(after[split]) >= len(before[split])
        assert sum(before[split] != after[split] for split in before) in (1, 2), name  # those of its role alone
        assert (
            not after["asr.train"] & after["asr.dev"] and after["asr.train"] | after["asr.dev"] <= after["speech.train"]
        )
        assert not after["asr.test_unseen"] & after["speech.train"]
    most = heard(speech_voices=28, label_voices=12, test_voices=16)
    assert most["asr.train"] | most["asr.dev"] == most["speech.train"]
    assert heard(speech_voices=2, label_voices=1, test_voices=1)["asr.train"] == {"m3"}


def test_asr_may_have_the_transcripts_of_the_pairs():
    config = replace(SMALL, asr_pairs=True)
    asr, pairs = drawn(config, "asr", "train"), drawn(config, "pairs", "train")
    assert asr == [*drawn(SMALL, "asr", "train"), *pairs] and len(asr) == config.asr + config.pairs
    assert len({row["id"] for row in asr}) == len(asr)
    audited = [e.row_of("asr") for e in config.entries() if ("asr", "train") in e.places]
    assert sorted(audited, key=lambda row: row["id"]) == sorted(asr, key=lambda row: row["id"])


# The corpus -----------------------------------------------------------------------------------------------------------


class Run:
    def __init__(self, path, workers=2):
        self.files, self.id, self.workers, self.steps = path, path.name, workers, []
        path.mkdir()

    def check(self):
        pass

    def progress(self, step, steps, **fields):
        self.steps.append((step, steps, fields["unit"]))


def digests(path):
    files = [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Every split of a small corpus, written: results and tables by place."""
    pytest.importorskip("espeakng_loader")
    root, spoken, splits = tmp_path_factory.mktemp("builtin"), {}, {}
    config = replace(SMALL, asr_pairs=True)
    for place in places(config):
        planned = config.split(*place)
        for speech in planned.recordings:
            if speech not in spoken:
                run = spoken[speech] = Run(root / speech.sample.name)
                assert speech.write(run)["recordings"] == speech.sample.rows
        runs, run = [spoken[speech] for speech in planned.recordings], Run(root / "-".join(place))
        result = planned.config.write(run, runs)
        assert json.loads((run.files / "recordings.json").read_text()) == [source.id for source in runs]
        assert run.steps[-1] == (result["rows"], result["rows"], "rows")
        splits[place] = result, Table(run.files, ".".join(place), [Recordings(source.files) for source in runs])
    return splits


def test_rows_are_written_as_asked(written):
    assert {place: (result["rows"], len(table)) for place, (result, table) in written.items()} == {
        (table, split): (rows, rows)
        for table, splits in {
            "speech": {"train": 60, "dev": 6},
            "text": {"train": 40, "dev": 10},
            "pairs": {"train": 30, "dev": 6},
            "asr": {"train": 50, "dev": 6, "test": 8, "test_unseen": 8},
            "translation": {"train": 20, "dev": 6, "test": 8},
            "sentiment": {"train": 20, "dev": 10, "test": 12},
            "sentence_pair": {"train": 20, "dev": 10, "test": 12},
            "normalization": {"train": 20, "dev": 10, "test": 12},
            "retrieval": {"dev": 6, "test": 10},
        }.items()
        for split, rows in splits.items()
    }
    said = {"text", "voice", "snr", "phones", "seconds", "frames"}
    fields = {
        "speech": said,
        "asr": said,
        "retrieval": said,
        "pairs": said,
        "translation": {*said, "translation"},
        "sentiment": {"text", "label"},
        "sentence_pair": {"text", "text_b", "label"},
        "normalization": {"written", "spoken"},
        "text": {"text"},
    }
    for (name, split), (result, table) in written.items():
        assert set(table.fields) == {"id", *fields[name]}, (name, split)
        assert table.has_audio == ((name, split) in SPOKEN) == (result["hours"] > 0)
        assert result["hours"] == pytest.approx(table.hours, abs=1e-4) and result["left_out"] == {}


def test_what_is_shared_is_the_same_speech(written):
    asr, retrieval, unseen = (
        written[place][1] for place in (("asr", "test"), ("retrieval", "test"), ("asr", "test_unseen"))
    )
    assert (asr.mel(7) == retrieval.mel(7)).all() and asr.rows[7]["phones"] == retrieval.rows[7]["phones"]
    assert asr.rows[7]["text"] == retrieval.rows[7]["text"] == unseen.rows[7]["text"]
    assert asr.mel(7).shape != unseen.mel(7).shape or (asr.mel(7) != unseen.mel(7)).any()
    labels, pairs = written["asr", "train"][1], written["pairs", "train"][1]
    assert (labels.mel(20 + 3) == pairs.mel(3)).all() and labels.rows[23] == pairs.rows[3]
    for table in (asr, labels):
        for i, row in enumerate(table.rows):
            assert 0.6 < row["seconds"] < 4.5 and row["frames"] == len(table.mel(i))
            assert 0 < row["phones"][-1][0] < row["frames"] + 3 and row["phones"][-1][1] == "_"


def test_speech_does_not_depend_on_processes_or_on_how_much_is_spoken(tmp_path):
    """The 60 utterances are more than one process speaks."""
    pytest.importorskip("espeakng_loader")
    (speech,) = SMALL.split("speech", "train").recordings
    one, two, more = Run(tmp_path / "one", 1), Run(tmp_path / "two", 3), Run(tmp_path / "more")
    assert speech.write(one) == speech.write(two)
    assert digests(one.files) == digests(two.files) and len(digests(one.files)) == 3
    assert one.steps[0] == (0, 60, "utterances") and one.steps[-1] == (60, 60, "utterances")
    BuiltinSpeech(sample=replace(speech.sample, rows=75)).write(more)
    few, many = Recordings(one.files), Recordings(more.files)
    assert len(few) == 60 and len(many) == 75 and all(np.array_equal(few.mel(i), many.mel(i)) for i in range(60))
    assert (more.files / "phones.jsonl").read_bytes().startswith((one.files / "phones.jsonl").read_bytes())
    again = digests(one.files)
    speech.write(one)
    assert digests(one.files) == again


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speech_voices": 99}, "data.speech_voices is 99, expected 2 to"),
        ({"label_voices": 25}, "data.label_voices is 25, expected 1 to 10"),
        ({"test_voices": 15}, "data.test_voices is 15, expected 1 to 14"),
        ({"speech_voices": 6}, "data.test_voices is 8, expected 1 to 4"),
        ({"pairs": 0}, "data.pairs: expected a whole number from 1, found 0"),
        ({"coverage": 1.5}, "data.coverage: expected a number from 0.2 to 1, found 1.5"),
        ({"rate_low": 300}, "data.rate_low is 300, expected 80 to 240"),
        ({"rate_low": 10}, "data.rate_low: expected a whole number from 80 to 450, found 10"),
        ({"rare": 0.0}, "data.rare: expected a number above 0 and up to 1, found 0.0"),
    ],
)
def test_bad_settings_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        typed(SMALL, change, "data").resolved()


def test_a_table_can_be_too_large_for_the_world(monkeypatch):
    monkeypatch.setattr(sample, "_PATIENCE", 3)
    with pytest.raises(UserError, match="The built-in world has no more than .* rows for"):
        drawn(replace(SMALL, sentiment=20_000), "sentiment", "train")


def test_a_stated_corpus_has_every_split_by_name_and_none_to_write(tmp_path):
    config = StatedConfig(speech=60000, text=8.03e8)
    assert config.tables() == {}
    asked = ("speech", "train"), ("speech", "dev"), ("asr", "test"), ("text", "train")
    splits = {place: config.split(*place) for place in asked}
    assert [splits[place].config.size for place in splits] == [60000, None, None, 8.03e8]
    assert not any(split.recordings for split in splits.values())
    longer = StatedConfig(speech=100_000, text=8.03e8)
    assert {place for place in splits if longer.split(*place) != splits[place]} == {("speech", "train")}
    with pytest.raises(UserError, match="can only be planned"):
        splits["asr", "test"].config.write(None, ())


WORDS = {  # of a hypothesis, by the relation that decides it; "role", "category" and "binding" have none of their own
    "week": ("week", "weekend"),
    "price": ("cheap", "expensive"),
    "weight": ("heavy", "light"),
    "mood": ("happy", "sad"),
    "season": ("spring", "summer", "autumn", "winter"),
}


def test_items_that_are_alike_are_a_cluster():
    """Told from the texts: relations by their words, templates by all words that are the same in each of their rows."""

    config = replace(SMALL, text_test=200, test=200, retrieval=200)

    def of(table):
        rows = drawn(config, table, "test")
        return rows, config.split(table, "test").config.clusters(rows)

    for row, own in zip(*of("sentence_pair")):
        found = {name for name, words in WORDS.items() if {*row["text_b"].split()} & {*words}}
        assert own.keys() == {"relation"}
        if own["relation"] == "country":
            assert found <= {"season"}
        elif own["relation"] in ("role", "category", "binding"):
            assert not found and (" and " in row["text"]) == (own["relation"] == "binding"), (row, own)
        else:
            assert found == {own["relation"]}, (row, own)
    for table, field, named in (
        ("sentiment", "text", {"template"}),
        ("normalization", "spoken", {"template"}),
        ("asr", "text", {"voice", "template"}),
        ("translation", "text", {"voice", "template"}),
        ("retrieval", "text", {"voice", "template"}),
    ):
        rows, shared = of(table)
        by: dict[str, list[set[str]]] = {}
        for row, own in zip(rows, shared, strict=True):
            assert own.keys() == named and own.get("voice") == row.get("voice")
            by.setdefault(own["template"], []).append({*row[field].split()})
        assert 10 < len(by) < len(rows) / 3
        several = [texts for texts in by.values() if len(texts) > 2]
        assert sum(bool(set.intersection(*texts)) for texts in several) > 0.6 * len(several), table
