"""A table of real corpora is one file and one line, and a task that reads it: Speech Commands, from YAML to report."""

from __future__ import annotations

from pathlib import Path

import engine
import numpy as np
import pytest
import soundfile

from ablate.data.builtin import items
from ablate.data.builtin.corpus import BuiltinConfig
from ablate.data.lines import Faults, lines
from ablate.data.real.corpus import RealConfig
from ablate.data.real.layouts import registry
from ablate.data.real.layouts.layout import TableLayout
from ablate.errors import UserError
from ablate.planning.plan import plan_file
from ablate.store import identity

WORDS = ("go", "stop")


def commands(path: Path) -> Path:
    """Six recordings of each of two words; of each, one in dev and one in test."""
    rng = np.random.default_rng(0)
    for word in (*WORDS, "_background_noise_"):
        (path / word).mkdir(parents=True)
        for speaker in range(6):
            soundfile.write(path / word / f"{speaker}_nohash_0.wav", rng.normal(0, 0.1, 16_000), 16_000)
    for name, speaker in (("validation_list.txt", 4), ("testing_list.txt", 5)):
        (path / name).write_text("".join(f"{word}/{speaker}_nohash_0.wav\n" for word in WORDS))
    return path


def test_a_sweep_over_a_new_table(toy, tmp_path: Path) -> None:
    toy("table")
    commands(tmp_path / "data/speech_commands")
    data = engine.real(tmp_path / "data", labelled={"commands": "speech_commands"})
    made = engine.table(engine.file(tmp_path, data, {"commands": {"steps": 2, "items": 4}}))
    assert "| toy" in made and "commands" in made


def test_what_the_splits_hold(toy, tmp_path: Path) -> None:
    of = toy("table").Commands()
    path = commands(tmp_path / "data")
    assert {split: len(list(of.rows(path, split, Faults()))) for split in of.splits} == {
        "train": 8,
        "dev": 2,
        "test": 2,
    }


def test_what_is_not_there_is_named(toy, tmp_path: Path) -> None:
    toy("table")
    (tmp_path / "data").mkdir()
    config = RealConfig(root=str(tmp_path / "data"), **engine.NOTHING, labelled={"commands": "speech_commands"})
    with pytest.raises(UserError, match=r"lacks data.labelled.commands \(speech_commands/validation_list.txt\)"):
        config.resolved().split("commands", "dev")


def test_a_table_that_is_not_registered(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data.labelled has 'digit', which is not registered: did you mean 'digits'"):
        RealConfig(root=str(tmp_path), labelled={"digit": "x"}).resolved()
    with pytest.raises(
        UserError, match="data.labelled has 'digits', which has a setting of its own; write data.digits"
    ):
        RealConfig(root=str(tmp_path), labelled={"digits": "x"}).resolved()


class Half(TableLayout):
    splits, columns = ("train", "test"), ("text",)

    def rows(self, path, split, faults):
        yield {"id": "1", "text": "one"}


def test_half_a_table_is_refused_with_its_file_and_line() -> None:
    with pytest.raises(UserError, match=r"Half \(.*test_labelled.py, line \d+\) lacks spoken; TableLayout"):
        registry.TABLES["half"] = Half

    class Spoken(Half):
        spoken = True

    with pytest.raises(
        UserError, match="has splits train, test: expected train, and dev exactly if it is not held out"
    ):
        registry.TABLES["half"] = Spoken
    with pytest.raises(UserError, match="cannot be called 'asr'"):
        registry.TABLES["asr"] = Spoken
    with pytest.raises(UserError, match="reads a row without recording, voice: {'id': '1'"):
        list(registry.whole(lambda: Spoken().rows(Path(), "train", Faults()), Spoken, ("voice", "recording"), "half"))


def test_no_further_table_changes_no_id(tmp_path: Path) -> None:
    assert "labelled" not in identity.canonical(RealConfig())


class Intents(TableLayout):
    """Lines of `text<TAB>label`; dev is held out."""

    spoken, splits, held_out, columns = False, ("train", "test"), True, ("text", "label", "intent")

    def rows(self, path, split, faults):
        for number, line in lines(path / f"{split}.tsv", faults):
            text, _, label = line.partition("\t")
            yield {"id": f"{number}", "text": text, "label": label, "intent": label}


def test_what_a_table_of_texts_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(registry.TABLES, "intents", Intents)
    (tmp_path / "intents").mkdir()
    (tmp_path / "intents/train.tsv").write_text("".join(f"Say  {n}\tsay\n" for n in range(20)) + "Go\tgo\n")
    (tmp_path / "intents/test.tsv").write_text("go\tgo\n")

    def splits() -> dict[str, tuple[int, str]]:
        config = RealConfig(root=str(tmp_path), **engine.NOTHING, labelled={"intents": "intents"}).resolved()
        made = {split: config.split("intents", split).config for split in config.tables()["intents"]}
        return {split: (one.rows, one.digest) for split, one in made.items()}

    before = splits()
    assert {split: rows for split, (rows, _) in before.items()} == {"train": 18, "dev": 2, "test": 1}  # test keeps "go"
    (tmp_path / "intents/test.tsv").write_text("go\tleave\n")
    after = splits()
    assert [split for split in before if after[split] != before[split]] == ["test"]


@pytest.fixture
def intents(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict:
    """`data:` with a table of intents."""
    monkeypatch.setitem(registry.TABLES, "intents", Intents)
    (tmp_path / "intents").mkdir()
    (tmp_path / "intents/train.tsv").write_text("".join(f"Say {n}\tsay\n" for n in range(20)))
    (tmp_path / "intents/test.tsv").write_text("go\tgo\n")
    return engine.real(tmp_path, labelled={"intents": "intents"})


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            {"preset": "sentiment", "fields": ["txt"]},
            r"TextClassification \(.*classification.py, line \d+\) reads the column 'txt', which table "
            "'intents' does not have; did you mean 'text'",
        ),
        (
            {"preset": "sentence_pair"},
            ".* reads the column 'text_b', which table 'intents' does not have; did you mean 'text'",
        ),
        (
            {"preset": "normalization"},
            ".* reads the column 'written', which table 'intents' does not have; did you mean 'intent'",
        ),
        (
            {"preset": "asr", "splits": ["test"]},
            r"Recognition \(.*\) reads speech, which table 'intents' does not have",
        ),
        ({"preset": "sentiment"}, ""),
    ],
)
def test_a_task_on_a_table_without_its_columns_is_refused_while_planning(
    intents: dict, tmp_path: Path, task: dict, words: str
) -> None:
    file = engine.file(tmp_path, intents, {"own": {**task, "table": "intents"}}, tokenizer={"fields": ["intents.text"]})
    if not words:
        assert plan_file(file, [], tmp_path / "runs").stages
        return
    with pytest.raises(UserError, match=f": rows.toy.tasks.own: {words}"):
        plan_file(file, [], tmp_path / "runs")


def test_a_row_without_a_column_of_its_table_is_refused_with_its_file_and_line(
    intents: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Intents, "columns", ("text", "label", "domain"))
    config = RealConfig(root=str(tmp_path), **engine.NOTHING, labelled={"intents": "intents"}).resolved()
    with pytest.raises(UserError, match=r"Intents \(.*test_labelled.py, line \d+\) reads a row without domain: "):
        config.split("intents", "train")


@pytest.mark.parametrize("table", items.TABLES)
def test_rows_of_the_built_in_world_have_the_columns_of_their_tables(table: str) -> None:
    """But for what is made when they are spoken."""
    config = BuiltinConfig(seed=3, **dict.fromkeys(SIZES, 3))
    for split in items.TABLES[table]:
        of = config.split(table, split).config
        heard = ("phones", "seconds", "frames") if of.sample.voices else ()
        assert all({*entry.row_of(table), *heard} == {*config.columns(table)} for entry in of.sample.entries())


SIZES = ("speech", "text", "pairs", "asr", "translation", "sentiment", "sentence_pair", "normalization", "dev", "test")
