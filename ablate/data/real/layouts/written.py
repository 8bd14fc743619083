"""Read text corpora as they are distributed: one generator per layout, each yielding rows as dictionaries.

Rows carry "id" and their texts as written in the corpus. A missing file or column raises UserError; a row that cannot
be used (a wrong number of columns, no such label, bytes that are not UTF-8) is a fault with its file and line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from ablate.data.lines import STOP, Faults, headless, jsonl, lines, tsv
from ablate.data.real.layouts.folders import entries
from ablate.data.table import Example
from ablate.errors import UserError, nearest


@dataclass(frozen=True)
class GlueTask:
    """Where a GLUE task keeps its texts and label: column names, or places where the files have no header."""

    text: str | int
    label: str | int
    text_b: str | int | None = None
    classes: Mapping[str, str] = field(default_factory=dict)  # the file's labels → their names; empty: a score
    width: int | None = None  # columns of a file without header
    broken: bool = False  # the distributed file is known to have rows that lack columns
    dev: Mapping[str, str] = field(default_factory=lambda: {"test": "dev"})  # our test splits → files with labels


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
    ),
    "QQP": GlueTask("question1", "is_duplicate", "question2", {"0": "different", "1": "duplicate"}, broken=True),
    "STS-B": GlueTask("sentence1", "score", "sentence2"),
}


def glue(root: Path, task: str, split: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read `root/TASK/{split}.tsv` as GLUE distributes it: {id, text, [text_b], label}.

    Splits are "train" and "dev" (MNLI: "dev_matched", "dev_mismatched"); GLUE's test has no labels and is not read.
    Labels are names of classes (`GLUE[task].classes`), or floats for STS-B. Quotes are text: these files quote nothing.
    """
    if task not in GLUE:
        raise UserError(f"There is no GLUE task '{task}': {nearest(task, GLUE)}")
    return sentences(Path(root) / task / f"{split}.tsv", task, faults)


def sentences(table: Path, task: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read a file in the columns of a GLUE task."""
    spec = GLUE[task]
    columns = [c for c in (spec.text, spec.text_b, spec.label) if isinstance(c, str)]
    rows = tsv(table, columns, faults, spec.broken) if spec.width is None else headless(table, spec.width, faults)
    for number, row in rows:
        label: str | float
        try:
            label = spec.classes[row[spec.label]] if spec.classes else _number(row[spec.label])
        except (KeyError, ValueError):
            valid = f"one of {', '.join(spec.classes)}" if spec.classes else "a number"
            faults.report(f"{table}, line {number}: the label is '{row[spec.label]}', expected {valid}.")
            continue
        texts = {"text": row[spec.text]} | ({} if spec.text_b is None else {"text_b": row[spec.text_b]})
        yield {"id": f"{task}-{table.stem}-{number}", **texts, "label": label}


def _number(text: str) -> float:
    """A finite number, or ValueError."""
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def texts(path: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read plain text, one text a line, or JSONL with "text", either packed by gzip or not: {id, text}.

    The id is the line's number; blank lines are skipped, further fields of a record are ignored.
    """
    path = Path(path)
    if path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson", ".json")):
        for number, record in jsonl(path, faults):
            if isinstance(record.get("text"), str):
                yield {"id": f"{number}", "text": record["text"].strip()}
            else:
                faults.report(f'{path}, line {number}: has no text in "text"; its fields are {", ".join(record)}.')
    else:
        for number, line in lines(path, faults):
            yield {"id": f"{number}", "text": line.strip()}


def normalization(folder: Path, split: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read written and spoken text: {id, written, spoken, [classes]}.

    `folder` has {train,dev,test}.tsv with columns "written" and "spoken" (and "class" or "classes": DATE, or
    DATE,MONEY, or nothing), or with tokens in the format of Google's text normalization corpus; or it has that corpus's
    `output-NNNNN-of-NNNNN`, of which the first 90 % are train, then 5 % dev and 5 % test, as its authors split it
    (Sproat & Jaitly 2017).
    """
    for path in normalization_files(folder, split):
        for row in normalized(path, faults):
            yield row | {"id": f"{split}-{row['id']}" if path.suffix == ".tsv" else f"{split}-{path.stem}-{row['id']}"}


def normalization_files(folder: Path, split: str) -> list[Path]:
    """The files that a split of written and spoken text is in. Raises UserError if there are too few."""
    shards = [Path(e.path) for e in entries(folder) if fnmatch(e.name, "output-*-of-*")]
    if not shards:
        return [Path(folder) / f"{split}.tsv"]
    first, last = {"train": (0, 0.9), "dev": (0.9, 0.95), "test": (0.95, 1)}[split]
    chosen = shards[round(first * len(shards)) : round(last * len(shards))]
    if not chosen:
        raise UserError(f"{folder}: has too few files output-*-of-* to take '{split}' of; add the other files.")
    return chosen


def normalized(path: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read a file of written and spoken text, whichever of the forms it has."""
    _, first = next(lines(path, faults), (0, ""))
    if len(first.split("\t")) == 3 and "written" not in first.split("\t") or first.startswith("<eos>\t"):
        yield from google_tokens(path, faults)
        return
    for number, row in tsv(path, ("written", "spoken"), faults):
        yield {"id": f"{number}", "written": row["written"], "spoken": row["spoken"]} | _classes(row)


def _classes(row: Example) -> Example:
    """What a table's column of classes says, if it has one and the row does not end before it."""
    for column in ("classes", "class"):
        if column in row:
            return {"classes": sorted(set(row[column].replace(",", " ").split()))}
    return {}


def google_tokens(path: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read `CLASS<TAB>token<TAB>spoken` a line, sentences ended by `<eos>`: {id, written, spoken, classes}.

    "<self>" is spoken as it is written, and "sil" not at all. `classes` names what in the sentence is said otherwise
    than it is written, each class once; the id is the number of the sentence's first line.
    """
    tokens: list[tuple[str, str, str]] = []
    start, whole = 0, True
    for number, line in lines(path, faults):
        cells = line.split("\t")
        start = start or number
        if cells[0] == "<eos>":
            if tokens and whole:
                yield _sentence(start, tokens)
            tokens, start, whole = [], 0, True
        elif len(cells) == 3:
            tokens.append((cells[0], cells[1], cells[2]))
        else:
            faults.report(f"{path}, line {number}: has {len(cells)} columns, expected 3 (class, token, spoken).")
            whole = False  # a sentence that lacks a token is no sentence
    if tokens and whole:
        yield _sentence(start, tokens)


def _sentence(start: int, tokens: list[tuple[str, str, str]]) -> Example:
    spoken = [written if said == "<self>" else said for _, written, said in tokens if said != "sil"]
    changed = sorted({kind for kind, _, said in tokens if said not in ("<self>", "sil")})
    written = " ".join(written for _, written, _ in tokens)
    return {"id": f"{start}", "written": written, "spoken": " ".join(spoken), "classes": changed}
