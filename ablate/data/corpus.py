"""What planning knows about a corpus: its tables, the content of each split, and the recordings of its speech.

A kind of corpus is a `CorpusConfig` (`data:` of a sweep). It says which tables and splits there are. For each split
that is read it gives a `Split`: the config of a `table` stage, whose id depends on the rows, and the configs of the
`recordings` stages that its speech is taken from. `ablate.data.table` describes their form on disk.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ablate.data.contract import Complete
from ablate.data.mix import Mix
from ablate.data.recordings import Recordings
from ablate.data.table import Example
from ablate.errors import UserError

UTTERANCE, DOCUMENT = 12.0, 128  # seconds and tokens, if a corpus does not state them
SHARED = ("voice", "speaker", "document")
"""Columns whose values rows have in common: errors on rows with equal values are alike."""


@dataclass(frozen=True, kw_only=True)
class RecordingsConfig(Complete):
    """Identity of a `recordings` stage: what is decoded, and how it becomes features. Its location is in `how`.

    The ids of tables do not include their recordings. So when decoding changes, both recipes must be raised, unless the
    table's config contains that of its recordings.
    """

    tag: ClassVar[str]
    """Its permanent name in ids (see `ablate.store.identity`)."""
    recipe: ClassVar[int]
    """Version of the code that makes them: part of their identity, raised by hand when the result changes."""

    @abstractmethod
    def write(self, run: Any) -> dict[str, Any]:
        """Write the recordings into `run.files`, reporting progress, and return the result for the record."""

    def open(self, folder: Path) -> Recordings:
        """Open the result of `write` in `folder`."""
        return Recordings(folder)


@dataclass(frozen=True, kw_only=True)
class SplitConfig(Complete):
    """Identity of a `table` stage: the rows of one split of one table."""

    tag: ClassVar[str]
    """Its permanent name in ids (see `ablate.store.identity`)."""
    recipe: ClassVar[int]
    """Version of the code that makes it: part of its identity, raised by hand when the result changes."""

    @abstractmethod
    def write(self, run: Any, recordings: Sequence[Any]) -> dict[str, Any]:
        """Write the split into `run.files`, its speech from the run folders `recordings` (those of `Split.recordings`,
        in that order), and return the result for the record: at least "rows" and "hours".
        """

    def clusters(self, rows: Sequence[Example]) -> list[dict[str, str]]:
        """What each of the split's rows has in common with others, by name, as {"speaker": "84"}: errors on such rows
        are alike. Asked when the split is scored; nothing else depends on it. By default its columns of `SHARED`.
        """
        return [{name: str(row[name]) for name in SHARED if row.get(name) not in (None, "")} for row in rows]


@dataclass(frozen=True)
class Split:
    """What planning knows about one split of one table before anything is made."""

    config: SplitConfig
    recordings: tuple[RecordingsConfig, ...] = ()
    """The recordings of its speech; not part of its identity."""
    notes: tuple[str, ...] = ()
    """What the user should know about it, in sentences; for instance rows left out because a test set has them."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Digests of its texts alone, by field ("" for all others), where known: a tokenizer trained on them does not
    depend on their speech. A digest depends on the texts and their numbers, not on their order.
    """
    rows: int = 0
    """Number of its rows; 0 if unknown."""
    disk: tuple[float, ...] = ()
    """Bytes on disk of each of the recordings, where known."""
    mix: Mix | None = None
    """How pre-training draws from its corpora, if it has several and they are mixed."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(Complete):
    """Definition of a corpus. Subclasses are the kinds of corpora (`data:` in a sweep), one line each in
    `ablate.data.registry`.
    """

    tag: ClassVar[str]
    """Its permanent name in ids (see `ablate.store.identity`)."""
    counts: ClassVar[tuple[str, ...]] = ()
    """Settings that are numbers of rows, which `--quick` makes smaller; empty if the size of the data is fixed."""
    absent: ClassVar[str] = ""
    """Why a sweep with it can only be planned, in a sentence for the user; empty if it can be run."""

    @property
    def by_speaker(self) -> bool:
        """Whether features are normalised by speaker, over all of a speaker's recordings in a split."""
        return False

    @property
    def added(self) -> Collection[str]:
        """Test splits that the user has added to the corpus, as "TABLE.SPLIT"."""
        return ()

    def lengths(self) -> tuple[float, int]:
        """Seconds of a typical utterance and tokens of a typical text, for estimates."""
        return UTTERANCE, DOCUMENT

    def resolved(self) -> CorpusConfig:
        """Check the settings, without looking at the data, and return the config. Raises UserError."""
        return self

    @abstractmethod
    def tables(self) -> Mapping[str, Collection[str]]:
        """Splits of every table of the corpus, as far as they are known without reading it; empty if any table may be
        asked for. Pre-training tables have the names in `ablate.data.streams`.
        """

    def columns(self, table: str) -> Collection[str]:
        """Names of the columns that every row of one of `tables()` has, as far as they are known without reading it;
        empty if unknown. Spoken rows have "voice", "seconds" and "frames".
        """
        return ()

    def missing(self, table: str, split: str) -> Collection[str]:
        """What must be there to read a split of one of `tables()` and is not, as "data.SETTING (path)"."""
        return ()

    def need(self, places: Iterable[tuple[str, str]]) -> None:
        """Raise one UserError that names all that is `missing` of these splits, (table, split) each."""
        if missing := list(dict.fromkeys(one for place in places for one in self.missing(*place))):
            raise UserError(f"data lack {', '.join(missing)}; add the files, or set the right paths.")

    @abstractmethod
    def split(self, table: str, split: str) -> Split:
        """The content of one split of one table, called only for names in `tables()`. May read files to find its rows,
        and caches what it read; makes nothing. Raises UserError.
        """
