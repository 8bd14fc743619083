"""Identity of a split of real corpora: the digest of its rows in canonical order, and what was left out of it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ablate.data.real.sources import ORIGIN, Place
from ablate.data.spelling import OWN_WORDS, language, plain
from ablate.data.table import Example
from ablate.errors import plural
from ablate.store.kept import hashed

TEXTS = ("text", "text_b", "translation", "written", "spoken")
READ = (*TEXTS, "direction", "label", "classes")  # these first, then the row's other fields, sorted by name
UNKNOWN = "untranscribed"  # a mark of rows whose text is '' because there is none, and not because nothing is said
APART = {"id", "voice", "recording", ORIGIN, UNKNOWN, *READ}
GIVEN = {"document"}  # follows from the recording, of which the key is a digest
BARE = "speech", "train"  # the split whose texts nothing reads
SHOWN = 3  # number of left-out lines that a note shows
SHORT = 60  # number of characters of a line that a note shows
_SOME = 1 << 16


class Found(NamedTuple):
    """A row of a source, its recording's key and number of frames according to the header (0 for text), and the splits
    it belongs to.
    """

    row: Example
    key: bytes
    frames: int
    places: list[Place]

    def digest(self, place: Place) -> bytes:
        """16 bytes that identify everything that is read of this row in a split, except its voice."""
        return digest(self.key, {} if place == BARE else self.row)


def digest(key: bytes, row: Example) -> bytes:
    """16 bytes that identify a recording and the texts and labels of its row."""
    names = [*(name for name in READ if name in row), *sorted(row.keys() - APART - (GIVEN if key else set()))]
    said = [f"{name}\n{row[name]}" for name in names]  # texts have single spaces and no line breaks
    return hashed(key, "\n".join(said).encode())


def disputed(row: Example) -> bool:
    """Whether the score of a row's output depends on rules about marks, quotes or scripts (`spelling.SCORING`)."""
    if "translation" in row:
        into = language(row.get("direction", "").partition("_")[2])
        return into in OWN_WORDS or not into and not plain(row["translation"])
    return "spoken" in row and not plain(row["spoken"]) or "recording" in row and not plain(row["text"])


class Held:
    """The rows of a split, 16 bytes each, and their speakers if these are read.

    `disputed` says whether any row is. Where corpora are mixed, every row is added with the number of its corpus.

    `texts` has a sum of hashes for each text field: it identifies a split's texts alone, whatever their order and
    whatever their speech.
    """

    def __init__(self, voiced: bool) -> None:
        self.digests = bytearray()
        self.voices = array("q")
        self.corpora = array("q")
        self.texts: Counter[str] = Counter()
        self.disputed = False
        self._voiced, self._numbers = voiced, {}

    def __len__(self) -> int:
        return len(self.digests) // 16

    def add(
        self,
        digest: bytes,
        voice: str | None,
        texts: Mapping[str, Any] = MappingProxyType({}),
        corpus: int | None = None,
    ) -> None:
        self.digests += digest
        if corpus is not None:
            self.corpora.append(corpus)
        self.disputed = self.disputed or disputed(texts)
        for field in TEXTS:
            if field in texts:
                self.texts[field] += int.from_bytes(hashed(texts[field].encode()), "big")
        if self._voiced and voice is not None:
            self.voices.append(self._numbers.setdefault(voice, len(self._numbers)))

    def extend(self, other: Held) -> None:
        """Add the rows of another source; voices with the same name are the same."""
        self.digests += other.digests
        self.corpora.extend(other.corpora)
        self.disputed = self.disputed or other.disputed
        self.texts.update(other.texts)
        names = list(other._numbers)
        self.voices.extend(self._numbers.setdefault(names[number], len(self._numbers)) for number in other.voices)

    def canonical(self) -> tuple[str, np.ndarray]:
        """The digest of all rows, and the index of the row at each place of the canonical order: that of the rows' own
        digests.

        For voices it matters only which rows share one, not their names. Of equal rows that one comes first whose
        voice has the lower mark, which is computed from the sum of the voice's row digests; then, likewise, that whose
        corpus has.
        """
        rows = np.frombuffer(self.digests, ">u8").reshape(-1, 2)
        marked = [_marks(np.array(of), rows[:, 1]) for of in (self.corpora, self.voices) if len(of)]
        order = np.lexsort((*marked, rows[:, 1], rows[:, 0]))
        numbered = _numbered(np.array(self.voices)[order])[0].tobytes() if len(self.voices) else b""
        digest = blake2b(digest_size=16)
        for start in range(0, len(order), _SOME):  # in blocks: there may be very many
            digest.update(rows[order[start : start + _SOME]].tobytes())
        digest.update(numbered)
        return digest.hexdigest(), order

    def mixed(self, order: np.ndarray) -> tuple[str, np.ndarray, list[int]]:
        """Of the rows in this order: the digest of which of them are of one corpus, the new number of each one's
        corpus, and the given number of each new one. Corpora are numbered as they first occur: names do not matter.
        """
        corpora = np.array(self.corpora)[order]
        numbers, first = _numbered(corpora)
        return hashed(numbers.tobytes()).hex(), numbers, corpora[first].tolist()


def _marks(of: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """For each row the sum of the digests of all rows of its voice or corpus."""
    marks = np.zeros(of.max() + 1, np.uint64)
    np.add.at(marks, of, digests.astype(np.uint64))
    return marks[of]


def _numbered(of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers, as they first occur, in place of these; and where each first occurs."""
    _, first, inverse = np.unique(of, return_index=True, return_inverse=True)
    numbers = np.empty(len(first), "<i8")
    numbers[np.argsort(first)] = np.arange(len(first))
    return numbers[inverse], np.sort(first)


class LeftOut:
    """What is not in a split, counted by reason; and what the split shares with another one, left out of it or not.

    `shared` counts rows by what they share ("text", "recording", "id") and with which split, with the first names;
    `voices` counts rows by such a split and by speaker. Rows with a shared text or recording are left out, those with a
    shared speaker or id are kept.
    """

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.shared: dict[tuple[str, str], tuple[int, list[str]]] = {}
        self.voices: dict[str, Counter[str]] = {}

    def overlaps(self, what: str, holder: str, name: str) -> None:
        """Count a row that is left out because another split contains its text or its recording."""
        self.reasons[f"the same {what} is in {holder}"] += 1
        self.shares(what, holder, name)

    def shares(self, what: str, holder: str, name: str) -> None:
        """Count a row that shares something with another split."""
        count, names = self.shared.get((what, holder), (0, []))
        self.shared[what, holder] = count + 1, (names if len(names) == SHOWN or name in names else [*names, name])

    def speaks(self, holder: str, voice: str) -> None:
        """Count a row whose speaker is heard in another split, too."""
        self.voices.setdefault(holder, Counter())[voice] += 1

    def extend(self, other: LeftOut) -> None:
        """Add what was left out of another source."""
        self.reasons.update(other.reasons)
        for key, (count, names) in other.shared.items():
            before, shown = self.shared.get(key, (0, []))
            self.shared[key] = before + count, list(dict.fromkeys([*shown, *names]))[:SHOWN]
        for holder, voices in other.voices.items():
            self.voices.setdefault(holder, Counter()).update(voices)

    def plain(self) -> dict[str, Any]:
        """Plain values from which `of` restores it."""
        shared = [[*key, *value] for key, value in self.shared.items()]
        return {"reasons": self.reasons, "shared": shared, "voices": self.voices}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> LeftOut:
        made = cls()
        made.reasons.update(plain["reasons"])
        made.shared = {(what, holder): (count, names) for what, holder, count, names in plain["shared"]}
        made.voices = {holder: Counter(voices) for holder, voices in plain["voices"].items()}
        return made

    def kept(self) -> dict[str, dict[str, dict[str, int]]]:
        """Numbers of the rows of the split that share a speaker or an id with a row of another one, by that split."""
        speakers = {holder: {"speakers": len(of), "rows": of.total()} for holder, of in sorted(self.voices.items())}
        ids = {holder: {"rows": n} for (what, holder), (n, _) in sorted(self.shared.items()) if what == "id"}
        return {name: counts for name, counts in (("speakers", speakers), ("ids", ids)) if counts}

    def notes(self, table: str, split: str, rows: int, limits: Mapping[str, str]) -> list[str]:
        """Sentences about what a split of `rows` rows shares with others, and what `limits` (of reasons, with the
        setting that is behind each) leave out of it.
        """
        name, sentences = f"{table}.{split}", []
        for (what, holder), (count, names) in self.shared.items():
            sentences.append(f"{name}: {SHARED[what](count, _whole(table, holder), ', '.join(map(_quoted, names)))}")
        for holder, voices in self.voices.items():
            heard = f"{plural(len(voices), 'speaker')} ({plural(voices.total(), 'row')} of {rows:,})"
            verb = "speaks" if len(voices) == 1 else "speak"
            sentences.append(
                f"{name}: {heard} also {verb} in {_whole(table, holder)}; nothing is left out. If scores are to be of "
                "unseen voices, take these speakers out of one of the two."
            )
        for reason, setting in limits.items():
            if count := self.reasons[reason]:
                of = f"{count:,} of {rows + self.reasons.total():,} rows"
                sentences.append(f"{name}: {of} left out, {reason}{f' ({setting})' * bool(setting)}.")
        return sentences


def _whole(table: str, holder: str) -> str:
    return holder if "." in holder else f"{table}.{holder}"


def _quoted(name: str) -> str:
    return f"'{name if len(name) <= SHORT else f'{name[: SHORT - 3]}...'}'"


def _left(noun: str, count: int, there: str, names: str) -> str:
    if count == 1:
        return f"1 {noun} is left out because {there} has it: {names}."
    return f"{count:,} {noun}s are left out because {there} has them, the first: {names}."


def _kept(count: int, there: str, names: str) -> str:
    rows = "1 row has the id" if count == 1 else f"{count:,} rows have the ids"
    return f"{rows} of other recordings in {there} ({names}); nothing is left out. Look whether they are the same."


SHARED: Mapping[str, Callable[[int, str, str], str]] = {
    "text": partial(_left, "line"),
    "recording": partial(_left, "recording"),
    "id": _kept,
}
"""By what rows share with another split, the sentence about their number, that split, and the first names."""
