"""A task on a table that is there is one file and one line, from YAML to report; half a task is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import engine
import pytest
from test_layout import folder

from ablate.errors import UserError
from ablate.tasks.registry import TASKS
from ablate.tasks.task import LOSS, AbstractMeasure, AbstractTask, Metric, TaskConfig


def test_a_sweep_with_a_new_task(toy, tmp_path: Path) -> None:
    toy("layout")
    toy("task")
    for seed, (split, size) in enumerate({"train": 8, "dev": 4, "test": 4}.items()):
        folder(tmp_path / "data" / split, size, seed)
    data = engine.real(tmp_path / "data", asr=["train"], dev="dev", test="test")
    made = engine.table(engine.file(tmp_path, data, {"word_count": {"steps": 2, "items": 4}}))
    assert "| toy" in made and "words off (words)" in made


class Half(AbstractTask):
    metrics = (Metric("off", "lower"),)

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        tag = "half"


class Bare(AbstractMeasure):
    reads, sees = "text", ("text",)

    class Config(TaskConfig):
        tag = "bare"

    def measure(self, model, dataset, vocabulary):
        return []

    def score(self, rows, hypotheses):
        return [], []


class Loose(TaskConfig):
    tag = "loose"


class Nameless(Bare):
    class Config(Bare.Config):
        pass


class Deaf(Bare):
    reads, columns, metrics = "smell", (), (Metric("off", "lower"),)

    class Config(TaskConfig):
        tag = "deaf"


class Fickle(Half):
    reads, columns, choice = "text", (), Metric("other", "lower")
    objective = inputs = score = None

    class Config(TaskConfig):
        tag = "fickle"


class Searching(Fickle):
    choice = LOSS

    class Config(TaskConfig):
        tag = "searching"
        scoring = {"splits": (), "tokenizer": None, "beam": 1}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Half.Config, r"Half \(.*test_task.py, line \d+\) lacks reads, inputs, objective, score; AbstractScored \("),
        (Bare.Config, r"Bare \(.*test_task.py, line \d+\) lacks metrics, columns when it is made"),
        (Nameless.Config, r"Nameless.Config \(.*, line \d+\) lacks a tag of its own"),
        (Loose, r"Loose \(.*test_task.py, line \d+\) lacks owner; TaskConfig"),
        (Deaf.Config, "reads 'smell' and has 1 metrics: expected one of speech, text, pair, and a metric"),
        (Fickle.Config, r"Fickle \(.*, line \d+\) is selected by 'other', which is not one of its metrics"),
        (Searching.Config, r"Searching.Config \(.*, line \d+\) has 'beam' in scoring, but no such field"),
    ],
)
def test_half_a_task_is_refused_with_its_file_and_line(config: type[TaskConfig], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TASKS["half"] = config(table="asr")
    with pytest.raises(UserError, match="is no TaskConfig"):
        TASKS["half"] = config
    assert "half" not in TASKS
