"""The contract of a layout: how a corpus lies on disk."""

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
