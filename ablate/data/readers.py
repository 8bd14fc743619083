"""Read corpora as they are distributed: one generator per layout, each yielding rows as dictionaries.

Rows carry "id" and their texts as written in the corpus; spoken rows also "path" (of the recording) and "voice".
A fault raises UserError with the file and line: a missing file or column, text that is not UTF-8, a transcript
without its recording or a recording without its transcript.
"""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ablate.errors import UserError, nearest

AUDIO = (".flac", ".wav", ".mp3", ".ogg")

Row = dict[str, Any]


def librispeech(root: Path, subset: str) -> Iterator[Row]:
    """Read `root/SUBSET/SPEAKER/CHAPTER/` with its `.trans.txt`, in order of utterance ids: {id, text, path, voice}."""
    folder = _folder(Path(root) / subset)
    chapters = sorted(p for p in folder.glob("*/*") if p.is_dir())
    if not chapters:
        raise UserError(f"{folder}: expected the LibriSpeech layout SUBSET/SPEAKER/CHAPTER/, found no such folders.")
    for chapter in chapters:
        recordings = {p.stem: p for p in sorted(chapter.iterdir()) if p.suffix.lower() in AUDIO}
        transcripts = chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt"
        for number, line in _lines(transcripts):
            name, _, text = line.partition(" ")
            if name not in recordings:
                raise UserError(f"{transcripts}, line {number}: '{name}' has a transcript but no recording beside it.")
            yield {"id": name, "text": text.strip(), "path": recordings.pop(name), "voice": chapter.parent.name}
        if recordings:
            raise UserError(f"{transcripts}: has no transcript of '{min(recordings)}'; add it or remove the recording.")


def common_voice(root: Path, split: str) -> Iterator[Row]:
    """Read Common Voice, `root/{split}.tsv` and `root/clips/`: {id, text, path, voice}."""
    table = Path(root) / f"{split}.tsv"
    for number, row in _tsv(table, ("client_id", "path", "sentence")):
        clip = _clip(Path(root) / "clips", row["path"], table, number)
        yield {"id": clip.stem, "text": row["sentence"], "path": clip, "voice": row["client_id"]}


def covost(root: Path, source: str, target: str, split: str) -> Iterator[Row]:
    """Read CoVoST 2, `root/covost_v2.SRC_TGT.{split}.tsv` and `root/SRC/clips/`: Common Voice's rows + translation."""
    table = Path(root) / f"covost_v2.{source}_{target}.{split}.tsv"
    for number, row in _tsv(table, ("path", "sentence", "translation", "client_id")):
        clip = _clip(Path(root) / source / "clips", row["path"], table, number)
        texts = {"text": row["sentence"], "translation": row["translation"]}
        yield {"id": clip.stem, **texts, "path": clip, "voice": row["client_id"]}


@dataclass(frozen=True)
class GlueTask:
    """Where a GLUE task keeps its texts and label: column names, or places where the files have no header."""

    text: str | int
    label: str | int
    text_b: str | int | None = None
    classes: Mapping[str, str] = field(default_factory=dict)  # the file's labels → their names; empty: a score
    width: int | None = None  # columns of a file without header
    broken: bool = False  # the distributed file is known to have broken rows: skip them, with a warning


def _named(*classes: str) -> dict[str, str]:
    return {name: name for name in classes}


GLUE = {
    "SST-2": GlueTask("sentence", "label", classes={"0": "negative", "1": "positive"}),
    "CoLA": GlueTask(3, 1, classes={"0": "unacceptable", "1": "acceptable"}, width=4),
    "MRPC": GlueTask("#1 String", "Quality", "#2 String", {"0": "different", "1": "paraphrase"}),
    "RTE": GlueTask("sentence1", "label", "sentence2", _named("entailment", "not_entailment")),
    "QNLI": GlueTask("question", "label", "sentence", _named("entailment", "not_entailment")),
    "MNLI": GlueTask("sentence1", "gold_label", "sentence2", _named("contradiction", "entailment", "neutral")),
    "QQP": GlueTask("question1", "is_duplicate", "question2", {"0": "different", "1": "duplicate"}, broken=True),
    "STS-B": GlueTask("sentence1", "score", "sentence2"),
}


def glue(root: Path, task: str, split: str) -> Iterator[Row]:
    """Read `root/TASK/{split}.tsv` as GLUE distributes it: {id, text, [text_b], label}.

    Splits are "train" and "dev" (MNLI: "dev_matched", "dev_mismatched"); GLUE's test has no labels and is not read.
    Labels are names of classes (`GLUE[task].classes`), or floats for STS-B. Quotes are text: these files quote nothing.
    """
    if task not in GLUE:
        raise UserError(f"There is no GLUE task '{task}': {nearest(task, GLUE)}")
    spec, table = GLUE[task], Path(root) / task / f"{split}.tsv"
    columns = [c for c in (spec.text, spec.text_b, spec.label) if isinstance(c, str)]
    rows = _tsv(table, columns, spec.broken) if spec.width is None else _headless(table, spec.width)
    for number, row in rows:
        label: str | float
        try:
            label = spec.classes[row[spec.label]] if spec.classes else float(row[spec.label])
        except (KeyError, ValueError):
            valid = f"one of {', '.join(spec.classes)}" if spec.classes else "a number"
            raise UserError(f"{table}, line {number}: the label is '{row[spec.label]}', expected {valid}.") from None
        texts = {"text": row[spec.text]} | ({} if spec.text_b is None else {"text_b": row[spec.text_b]})
        yield {"id": f"{task}-{split}-{number}", **texts, "label": label}


def text_lines(path: Path) -> Iterator[Row]:
    """Read plain text (or .gz), one text a line, blank lines skipped: {id, text}; the id is the line's number."""
    for number, line in _lines(Path(path)):
        yield {"id": f"{number}", "text": line.strip()}


def normalization_tsv(path: Path) -> Iterator[Row]:
    """Read `written<TAB>spoken` with that header: {id, written, spoken}; the id is the line's number."""
    for number, row in _tsv(Path(path), ("written", "spoken")):
        yield {"id": f"{number}", "written": row["written"], "spoken": row["spoken"]}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of a UTF-8 file, without line ends and without blank lines."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file.")
    # Split bytes, not text: str.splitlines also breaks at characters that corpora hold within a line.
    with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}, line {number}: is not UTF-8 (byte {error.start + 1} of the line); convert the file."
                ) from error
            if line.strip():
                yield number, line


def _tsv(path: Path, columns: Iterable[str], broken: bool = False) -> Iterator[tuple[int, dict[Any, str]]]:
    """Yield (line number, row by column name) of a TSV with header and without quoting; see `GlueTask.broken`."""
    lines, skipped = _lines(path), []
    _, first = next(lines, (0, ""))
    header = first.split("\t")
    for column in columns:
        if column not in header:
            raise UserError(f"{path}, line 1: has no column '{column}'; its columns are {', '.join(header)}.")
    needed = max(header.index(column) for column in columns) + 1
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) >= needed:
            yield number, dict(zip(header, cells))
        elif broken:
            skipped.append(number)
        else:
            raise UserError(f"{path}, line {number}: has {len(cells)} columns, expected {len(header)}.")
    if skipped:
        first = f"first at line {skipped[0]}"
        warnings.warn(f"{path}: skipped {len(skipped)} rows with too few columns, {first}.", stacklevel=2)


def _headless(path: Path, width: int) -> Iterator[tuple[int, dict[Any, str]]]:
    """Yield (line number, row by place) of a TSV without header."""
    for number, line in _lines(path):
        cells = line.split("\t")
        if len(cells) != width:
            raise UserError(f"{path}, line {number}: has {len(cells)} columns, expected {width}.")
        yield number, dict(enumerate(cells))


def _folder(path: Path) -> Path:
    if not path.is_dir():
        siblings = sorted(p.name for p in path.parent.iterdir() if p.is_dir()) if path.parent.is_dir() else []
        raise UserError(f"{path}: there is no such folder; {nearest(path.name, siblings)}")
    return path


def _clip(clips: Path, name: str, table: Path, number: int) -> Path:
    if not (clips / name).is_file():
        raise UserError(f"{table}, line {number}: the recording {clips / name} does not exist.")
    return clips / name
