"""Read GLUE, all its tasks by one reader: rows have "id", texts as written in the corpus, and "label"."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ablate.data.lines import STOP, Faults, headless, lines, tsv
from ablate.data.table import Example
from ablate.errors import UserError, nearest


@dataclass(frozen=True)
class GlueTask:
    """Where a GLUE task keeps its texts and label: column names, or column numbers if the files have no header."""

    text: str | int
    label: str | int
    text_b: str | int | None = None
    classes: Mapping[str, str] = field(default_factory=dict)  # the file's labels → class names; empty: a number
    width: int | None = None  # number of columns of a file without header
    broken: bool = False  # the distributed file is known to have rows that lack columns
    dev: Mapping[str, str] = field(default_factory=lambda: {"test": "dev"})  # our test splits → files with labels
    test: Mapping[str, str] = field(default_factory=lambda: {"test": "test"})  # → files that GLUE gives without labels

    def label_of(self, text: str) -> str | float:
        """A label as the file has it, as the name of its class or a number. Raises KeyError or ValueError."""
        return self.classes[text] if self.classes else _number(text)


UNDECIDED = "-"  # the label of pairs on which MNLI's (and SNLI's) annotators did not agree


def _named(*classes: str) -> dict[str, str]:
    return {name: name for name in classes}


GLUE = {
    "SST-2": GlueTask("sentence", "label", classes={"0": "negative", "1": "positive"}),
    "CoLA": GlueTask(3, 1, classes={"0": "unacceptable", "1": "acceptable"}, width=4),
    "MRPC": GlueTask("#1 String", "Quality", "#2 String", {"0": "different", "1": "paraphrase"}),
    "RTE": GlueTask("sentence1", "label", "sentence2", _named("entailment", "not_entailment")),
    "QNLI": GlueTask("question", "label", "sentence", _named("entailment", "not_entailment")),
    "MNLI": GlueTask(
        "sentence1",
        "gold_label",
        "sentence2",
        _named("contradiction", "entailment", "neutral"),
        dev={"test": "dev_matched", "test_mismatched": "dev_mismatched"},
        test={"test": "test_matched", "test_mismatched": "test_mismatched"},
    ),
    "QQP": GlueTask("question1", "is_duplicate", "question2", {"0": "different", "1": "duplicate"}, broken=True),
    "STS-B": GlueTask("sentence1", "score", "sentence2"),
}


def glue(root: Path, task: str, split: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read `root/TASK/{split}.tsv` as GLUE distributes it: {id, text, [text_b], label}.

    Splits are "train" and "dev" (MNLI: "dev_matched", "dev_mismatched"), and "test" if it has labels: GLUE's has none.
    Labels are names of classes (`GLUE[task].classes`), or floats for STS-B. Quotes are text: there is no quoting here.
    """
    if task not in GLUE:
        raise UserError(f"There is no GLUE task '{task}': {nearest(task, GLUE)}")
    return sentences(Path(root) / task / f"{split}.tsv", task, faults)


def sentences(table: Path, task: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read a file with the columns of a GLUE task."""
    spec = GLUE[task]
    columns = [c for c in (spec.text, spec.text_b, spec.label) if isinstance(c, str)]
    rows = tsv(table, columns, faults, spec.broken) if spec.width is None else headless(table, spec.width, faults)
    for number, row in rows:
        if spec.classes and row[spec.label] == UNDECIDED:
            faults.expected(f"{table}: rows whose annotators did not agree on a label")
            continue
        label: str | float
        try:
            label = spec.label_of(row[spec.label])
        except (KeyError, ValueError):
            valid = f"one of {', '.join(spec.classes)}" if spec.classes else "a number"
            faults.report(f"{table}, line {number}: the label is '{row[spec.label]}', expected {valid}.")
            continue
        texts = {"text": row[spec.text]} | ({} if spec.text_b is None else {"text_b": row[spec.text_b]})
        yield {"id": f"{task}-{table.stem}-{number}", **texts, "label": label}


def labelled(folder: Path, task: str) -> bool:
    """Whether the test files of a folder have labels, judged by their first rows; GLUE's own have none."""
    return all(_has_label(folder / f"{file}.tsv", GLUE[task]) for file in GLUE[task].test.values())


def _has_label(table: Path, spec: GlueTask) -> bool:
    if not table.is_file():
        return False
    rows = (line.split("\t") for _, line in lines(table))
    header = list(range(spec.width)) if spec.width else next(rows, [])
    row = dict(zip(header, next(rows, [])))
    if spec.label not in row or row.keys() < {*header}:
        return False
    try:
        label = spec.label_of(row[spec.label])
    except (KeyError, ValueError):
        return False
    return bool(spec.classes) or label >= 0  # some write -1 for a label that is not known


def _number(text: str) -> float:
    """A finite number, or ValueError."""
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number
