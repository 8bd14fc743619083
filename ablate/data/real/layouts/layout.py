"""The contracts of layouts: how corpora lie on disk, as a table with several splits or as a source for any split."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from os.path import isfile
from pathlib import Path
from typing import Any, ClassVar

from ablate.data.lines import Faults, lines
from ablate.data.table import Example


class Layout(ABC):
    """A form in which corpora lie on disk: of speech (`LAYOUTS`), or of text (`TEXT_LAYOUTS`); see `registry`.

    It is made without arguments and has no state. Planning calls `knows` and `needs`; planning and stages read `rows`,
    in several processes and more than once, and must get the same rows in the same order from the same files.
    """

    expected: ClassVar[str]
    """What a source of this layout is called, with its article: it completes "expected ..., or a LibriSpeech
    folder".
    """
    version: ClassVar[int] = 1
    """Raised when the code reads different rows from the same files."""
    speakers: ClassVar[bool] = True
    """Whether "voice" is the speaker, by which training and test are compared, and no stand-in."""

    @abstractmethod
    def knows(self, path: Path) -> bool:
        """Whether `path` has this layout, judged by its name and the beginning of its content. Called with any path,
        even if it is something else or does not exist; then it returns False. Raises UserError for a file that cannot
        be unpacked or decoded.
        """

    @abstractmethod
    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        """Read all rows of a `path` for which `knows` is true, with texts as written in the corpus.

        Speech: {"id", "voice": the speaker, "recording": Recording(file, start, stop, channel)}, and "text" if there is
        a transcript; "document", what several utterances are parts of (a talk, a chapter), if it is known; and
        "stated": samples of the whole file, if the corpus states them. Where speakers are not known, "voice" is the
        document. Times are in seconds from the
        beginning of the file, `stop` is None for its end; channels count from 0, None is the mean of all; `member` is
        the file's place, if it is in an archive. Whether it exists and is audio is checked later. Text: {"id", "text"}.
        Ids are unique in the source.

        A row that cannot be used is passed to `faults.report`, in a sentence with its file and line, and left out;
        known faults of a distributed corpus go to `faults.expected`. Raises UserError for a missing file or column.
        """

    def needs(self, path: Path) -> list[Path]:
        """The files and folders, beside or below `path`, without which it cannot be read: planning names
        missing ones.
        """
        return [path]

    def wordless(self, path: Path) -> str:
        """Say what is there instead of transcripts, and where they are looked for, if no row has any; '' if that is
        not known. It completes "20 × no text: ".
        """
        return ""


class TableLayout(ABC):
    """Labelled data that are a table of their own, in `TABLES` (see `registry`): a sweep file gives their location as
    `data: {labelled: {NAME: PATH}}`, and a task of any kind reads the table by its name.

    It is made without arguments and has no state. What `Layout` says about rows, faults and reading more than once
    also holds here.
    """

    spoken: ClassVar[bool]
    """Whether all rows have recordings ("voice" and "recording"), or none has."""
    columns: ClassVar[tuple[str, ...]]
    """Names of the other columns that all rows have beside "id": planning refuses a task that reads any other
    column.
    """
    splits: ClassVar[tuple[str, ...]] = ("train", "dev", "test")
    """The splits. "train" is for training, "dev" for selection; those that begin with "test" are scored."""
    held_out: ClassVar[bool] = False
    """Whether "dev" is held out of the rows of "train", at most `data.held_out` of them; then `splits` has no "dev"."""
    asks: ClassVar[tuple[str, ...]] = ("text",)
    """Fields without which a spoken row is left out and counted; by default its text."""
    version: ClassVar[int] = 1
    """Raised when the code reads different rows from the same files."""

    @abstractmethod
    def rows(self, path: Path, split: str, faults: Faults) -> Iterator[Example]:
        """Read a split of the folder or file `path`: {"id", ...}, the id unique in the split.

        Texts are called text, text_b, translation, written and spoken: they get single spaces, and are lower-cased
        unless `data.lower` is off. Rows without recordings have "text" or "written", and no two splits share one. All
        other fields, such as "label", are kept as they are: numbers, strings, or lists of them. Every field is part of
        the split's identity, except "id", and "voice" in training.
        """

    def needs(self, path: Path, split: str) -> list[Path]:
        """The files and folders that a split is read from, which must exist. Without recordings, exactly its files:
        rows are cached by their content.
        """
        return [path / f"{split}.tsv"]

    def test(self, file: Path, faults: Faults) -> Iterator[Example]:
        """Read a further test split from one file (`data.tests`), with the same columns as the others."""
        return self.rows(file.parent, file.stem, faults)

    def test_needs(self, file: Path) -> list[Path]:
        """The files that a further test split is read from, as in `needs`."""
        return self.needs(file.parent, file.stem)


def ignored(text: str) -> bool:
    """Whether NIST's mark for parts that are not to be scored stands anywhere in a transcript."""
    return "ignore_time_segment_in_scoring" in text.lower()


def first(path: Path) -> str:
    """The first non-blank line of a text file. Raises UserError if it cannot be unpacked or decoded."""
    return next(lines(path), (0, ""))[1]


def span(start: float | str, stop: float | str) -> tuple[float, float]:
    """Both times in seconds; raises ValueError if `stop` is before `start`."""
    start, stop = float(start), float(stop)
    if not 0 <= start <= stop < math.inf:
        raise ValueError(f"{start} to {stop} s is no span")
    return start, stop


TRANSCRIPTS, SPEAKERS = ("transcription", "text", "sentence"), ("speaker_id", "speaker", "client_id")


def said(fields: Mapping[str, Any]) -> Example:
    """What records of Hugging Face and WebDataset say of an utterance: "text", the first of `TRANSCRIPTS` that is a
    text, and "voice", the first of `SPEAKERS` that is not empty; each only where there is one.
    """
    text = next((fields[name].strip() for name in TRANSCRIPTS if isinstance(fields.get(name), str)), None)
    voice = next((str(fields[name]) for name in SPEAKERS if fields.get(name) not in (None, "")), None)
    return {name: value for name, value in (("text", text), ("voice", voice)) if value is not None}


def there(recording: Path | str, table: Path, number: int, faults: Faults) -> bool:
    """Whether a recording exists; if not, report a fault of the line that names it."""
    if isfile(recording):
        return True
    faults.report(f"{table}, line {number}: the recording {recording} does not exist.")
    return False
