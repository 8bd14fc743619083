"""The contracts of layouts: how corpora lie on disk, in one table of several splits or as a source of any."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from os.path import isfile
from pathlib import Path
from typing import ClassVar

from ablate.data.lines import Faults, lines
from ablate.data.table import Example


class Layout(ABC):
    """A way in which corpora lie on disk: of speech (`LAYOUTS`), or of text (`TEXT_LAYOUTS`); see `registry`.

    It is made without arguments and holds nothing. Planning asks `knows` and `needs`; planning and stages read `rows`,
    in several processes and more than once, and must get the same rows in the same order from the same files.
    """

    expected: ClassVar[str]
    """What people call a source of this layout, with its article: it ends "expected ..., or a LibriSpeech folder"."""
    version: ClassVar[int] = 1
    """Raised when the code reads other rows from the same files."""

    @abstractmethod
    def knows(self, path: Path) -> bool:
        """Whether `path` is of this layout, by its name and a look at the first of what is there. Called with any
        path, of something else or of nothing, for which it is False; raises UserError for a file that cannot be
        unpacked or decoded.
        """

    @abstractmethod
    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        """Read all rows of a `path` that it knows, texts as written in the corpus.

        Of speech: {"id", "voice": who speaks, "recording": Recording(file, start, stop, channel)}, and "text" where
        there is a transcript. Times are in seconds from the beginning of the file, `stop` None for its end; channels
        count from 0, None is the mean of all. That the file is there and is audio is looked at later. Of text:
        {"id", "text"}. Ids are unique in the source.

        A row that cannot be used is `faults.report`ed, in a sentence with its file and line, and left out; what a
        distributed corpus is known to have wrong is `faults.expected`. Raises UserError for a missing file or column.
        """

    def needs(self, path: Path) -> list[Path]:
        """The files and folders without which a `path` that it knows cannot be read, beside or below it: a missing one
        is named while planning.
        """
        return [path]


class TableLayout(ABC):
    """A labelled kind of data that is a table of its own, in `TABLES` (see `registry`): a sweep file says where it lies
    by `data: {labelled: {NAME: PATH}}`, and a task of any kind reads it by its name.

    It is made without arguments and holds nothing. What `Layout` says of rows, of faults and of reading more than once
    holds here, too.
    """

    spoken: ClassVar[bool]
    """Whether all rows have recordings ("voice" and "recording"), or none has."""
    columns: ClassVar[tuple[str, ...]]
    """What else all rows have, by name, beside "id": a task that reads another column is refused while planning."""
    splits: ClassVar[tuple[str, ...]] = ("train", "dev", "test")
    """Splits that there are. "train" is trained on, "dev" selects, those that begin with "test" are scored."""
    held_out: ClassVar[bool] = False
    """Whether "dev" is held out of the rows of "train", at most `data.held_out` of them; `splits` then has no "dev"."""
    asks: ClassVar[tuple[str, ...]] = ("text",)
    """Fields without which a spoken row is left out and counted: no text."""
    version: ClassVar[int] = 1
    """Raised when the code reads other rows from the same files."""

    @abstractmethod
    def rows(self, path: Path, split: str, faults: Faults) -> Iterator[Example]:
        """Read a split of the folder or file `path`: {"id", ...}, the id unique in the split.

        Texts are called text, text_b, translation, written and spoken: they get single spaces, and lower case unless
        `data.lower` is off. Rows without recordings have "text" or "written", of which no two splits hold the same. All
        other fields, such as "label", are kept as they are: numbers, strings, or lists of them. Every field but "id",
        and "voice" in training, is part of what the split is.
        """

    def needs(self, path: Path, split: str) -> list[Path]:
        """The files and folders that a split is read from, which must be there; without recordings exactly the files,
        as rows are remembered by what these hold.
        """
        return [path / f"{split}.tsv"]

    def test(self, file: Path, faults: Faults) -> Iterator[Example]:
        """Read a further test split, one file (`data.tests`), in the columns of the others."""
        return self.rows(file.parent, file.stem, faults)

    def test_needs(self, file: Path) -> list[Path]:
        """What a further test split is read from, as `needs` says it."""
        return self.needs(file.parent, file.stem)


def first(path: Path) -> str:
    """The first line of a text file that is not blank. Raises UserError for one that cannot be unpacked or decoded."""
    return next(lines(path), (0, ""))[1]


def span(start: float | str, stop: float | str) -> tuple[float, float]:
    """Both in seconds; raises ValueError where the last comes before the first."""
    start, stop = float(start), float(stop)
    if not 0 <= start <= stop < math.inf:
        raise ValueError(f"{start} to {stop} s is no span")
    return start, stop


def there(recording: Path | str, table: Path, number: int, faults: Faults) -> bool:
    """Whether a recording exists; if not, that is a fault of the line that names it."""
    if isfile(recording):
        return True
    faults.report(f"{table}, line {number}: the recording {recording} does not exist.")
    return False
