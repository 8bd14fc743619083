"""Read written and spoken text, in columns or in the format of Google's corpus."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from ablate.data.lines import STOP, Faults, lines, tsv
from ablate.data.real.layouts.folders import entries
from ablate.data.real.layouts.layout import TableLayout
from ablate.data.table import Example
from ablate.errors import UserError

UNSPOKEN = ("sil", "-")  # of Google's format


class Normalization(TableLayout):
    """Written and spoken text."""

    spoken = False
    columns = ("written", "spoken")
    version = 2

    def rows(self, path: Path, split: str, faults: Faults) -> Iterator[Example]:
        return normalization(path, split, faults)

    def needs(self, path: Path, split: str) -> list[Path]:
        return normalization_files(path, split)

    def test(self, file: Path, faults: Faults) -> Iterator[Example]:
        return normalized(file, faults)

    def test_needs(self, file: Path) -> list[Path]:
        return [file]


def normalization(folder: Path, split: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read written and spoken text: {id, written, spoken, [classes]}.

    `folder` has {train,dev,test}.tsv, either with columns "written" and "spoken" (and "class" or "classes": DATE, or
    DATE,MONEY, or nothing) or with tokens in the format of Google's text normalization corpus. Or it has that corpus's
    `output-NNNNN-of-NNNNN`, of which the first 90 % are train, then 5 % dev and 5 % test, as its authors split it
    (Sproat & Jaitly 2017).
    """
    for path in normalization_files(folder, split):
        for row in normalized(path, faults):
            yield row | {"id": f"{split}-{row['id']}" if path.suffix == ".tsv" else f"{split}-{path.stem}-{row['id']}"}


def normalization_files(folder: Path, split: str) -> list[Path]:
    """The files of a split of written and spoken text. Raises UserError if there are too few."""
    shards = [Path(e.path) for e in entries(folder) if fnmatch(e.name, "output-*-of-*")]
    if not shards:
        return [Path(folder) / f"{split}.tsv"]
    first, last = {"train": (0, 0.9), "dev": (0.9, 0.95), "test": (0.95, 1)}[split]
    chosen = shards[round(first * len(shards)) : round(last * len(shards))]
    if not chosen:
        raise UserError(f"{folder}: has too few files output-*-of-* to take '{split}' of; add the other files.")
    return chosen


def normalized(path: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read a file of written and spoken text, in either of its two forms."""
    _, first = next(lines(path, faults), (0, ""))
    if len(first.split("\t")) == 3 and "written" not in first.split("\t") or first.startswith("<eos>\t"):
        yield from google_tokens(path, faults)
        return
    for number, row in tsv(path, ("written", "spoken"), faults):
        yield {"id": f"{number}", "written": row["written"], "spoken": row["spoken"]} | _classes(row)


def _classes(row: Example) -> Example:
    """The content of a table's column of classes, if it has one and the row is long enough."""
    for column in ("classes", "class"):
        if column in row:
            return {"classes": sorted({*row[column].replace(",", " ").split()} - {"-"})}  # "-" means none
    return {}


def google_tokens(path: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read one `CLASS<TAB>token<TAB>spoken` per line, with sentences ended by `<eos>`: {id, written, spoken, classes}.

    "<self>" is spoken as written, and "sil" and "-" are not spoken, also among other words of a token. `classes` names
    the classes of tokens whose spoken form differs from the written one, each once; the id is the number of the
    sentence's first line.
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
            whole = False  # a sentence that lacks a token is left out
    if tokens and whole:
        yield _sentence(start, tokens)


def _sentence(start: int, tokens: list[tuple[str, str, str]]) -> Example:
    spoken = [" ".join(_said(written, said)) for _, written, said in tokens]
    changed = sorted({kind for kind, _, said in tokens if not {*said.split()} <= {"<self>", *UNSPOKEN}})
    written = " ".join(written for _, written, _ in tokens)
    return {"id": f"{start}", "written": written, "spoken": " ".join(filter(None, spoken)), "classes": changed}


def _said(written: str, said: str) -> Iterator[str]:
    """The words of a token as they are spoken."""
    for word in said.split():
        if word == "<self>":
            yield from (own for own in written.split() if own != "-")
        elif word not in UNSPOKEN:
            yield word
