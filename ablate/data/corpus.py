"""What planning knows of a corpus: its tables, what each of their splits is, and what its speech is decoded from.

A kind of corpus is a `CorpusConfig` (`data:` of a sweep). It says which tables and splits there are, and, for a split
that something reads, a `Split`: the config of a `table` stage, whose id says which rows it holds, and those of the
`recordings` stages that its speech is taken from. How both lie on disk is told in `ablate.data.table`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ablate.data.contract import Complete
from ablate.data.recordings import Recordings

UTTERANCE, DOCUMENT = 12.0, 128  # seconds and tokens, where a corpus does not say


@dataclass(frozen=True, kw_only=True)
class RecordingsConfig(Complete):
    """Identity of a `recordings` stage: what is decoded, and how it becomes features. Where it lies is `how`.

    Tables that point into recordings do not start from them, so the recipe of both is raised, or a table's config has
    that of its recordings, when decoding changes.
    """

    tag: ClassVar[str]
    """What it is called in ids, for ever (see `ablate.store.identity`)."""
    recipe: ClassVar[int]
    """Version of the code that makes them: part of their identity, raised by hand when the result changes."""

    @abstractmethod
    def write(self, run: Any) -> dict[str, Any]:
        """Write the recordings into `run.files`, telling progress, and return the result for the record."""

    def open(self, folder: Path) -> Recordings:
        """Open what `write` left in `folder`."""
        return Recordings(folder)


@dataclass(frozen=True, kw_only=True)
class SplitConfig(Complete):
    """Identity of a `table` stage: the rows that one split of one table holds."""

    tag: ClassVar[str]
    """What it is called in ids, for ever (see `ablate.store.identity`)."""
    recipe: ClassVar[int]
    """Version of the code that makes it: part of its identity, raised by hand when the result changes."""

    @abstractmethod
    def write(self, run: Any, recordings: Sequence[Any]) -> dict[str, Any]:
        """Write the split into `run.files`, its speech from the run folders `recordings` (those of `Split.recordings`,
        in that order), and return the result for the record: at least "rows" and "hours".
        """


@dataclass(frozen=True)
class Split:
    """What planning knows of one split of one table before anything is made."""

    config: SplitConfig
    recordings: tuple[RecordingsConfig, ...] = ()
    """What its speech is taken from; no part of its identity."""
    notes: tuple[str, ...] = ()
    """What the user should know of it, in sentences: rows left out because a test set has them, for instance."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """What its texts alone are, by field ("" of all others), where that is known: a tokenizer that learns from them
    does not depend on their speech. In no order, as sets with repetitions.
    """
    disk: tuple[float, ...] = ()
    """Bytes that each of the recordings leaves on the disk, where that is known."""


@dataclass(frozen=True, kw_only=True)
class CorpusConfig(Complete):
    """What a corpus is. Subclasses are the kinds of corpora (`data:` in a sweep), a line each in
    `ablate.data.registry`.
    """

    tag: ClassVar[str]
    """What it is called in ids, for ever (see `ablate.store.identity`)."""
    counts: ClassVar[tuple[str, ...]] = ()
    """Settings that are numbers of rows, which `--quick` makes smaller; none where the data are as large as they are.
    """
    absent: ClassVar[str] = ""
    """Why a sweep over it can only be planned, in a sentence for the user; empty where it can be run."""

    @property
    def by_speaker(self) -> bool:
        """Whether features are normalised by speaker, over all recordings of one in a split."""
        return False

    def lengths(self) -> tuple[float, int]:
        """Seconds of a typical utterance and tokens of a typical text, for estimates."""
        return UTTERANCE, DOCUMENT

    def resolved(self) -> CorpusConfig:
        """Check the settings and that what they name is there, and return the config. Raises UserError."""
        return self

    @abstractmethod
    def tables(self) -> Mapping[str, Collection[str]]:
        """Splits of every table that the corpus has, as far as that is known without reading it; nothing where any may
        be asked for. What is pre-trained on is called as in `ablate.data.streams`.
        """

    def columns(self, table: str) -> Collection[str]:
        """What every row of one of `tables()` has, by name, as far as that is known without reading it; nothing where
        it is not. Spoken rows have "voice", "seconds" and "frames".
        """
        return ()

    @abstractmethod
    def split(self, table: str, split: str) -> Split:
        """What one split of one table is, called only for names in `tables()`. May read files to learn which rows it
        holds, remembers what it read, and makes nothing. Raises UserError.
        """
