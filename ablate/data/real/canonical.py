"""Identity of a split of real corpora: the digest of its rows in canonical order, and what was left out of it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ablate.data.real.sources import ORIGIN, Place
from ablate.data.spelling import OWN_WORDS, language, plain
from ablate.data.table import Example
from ablate.store.kept import hashed

TEXTS = ("text", "text_b", "translation", "written", "spoken")
READ = (*TEXTS, "direction", "label", "classes")  # these first, then the row's other fields, sorted by name
UNKNOWN = "untranscribed"  # a mark of rows whose text is '' because there is none, and not because nothing is said
APART = {"id", "voice", "recording", ORIGIN, UNKNOWN, *READ}
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
    names = [*(name for name in READ if name in row), *sorted(row.keys() - APART)]
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
    """What is not in a split, counted by reason, and the first lines of those that another split contains."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.shared: dict[str, tuple[int, list[str]]] = {}

    def overlaps(self, holder: str, text: str) -> None:
        """Count a row whose text another split contains."""
        self.reasons[f"the same text is in {holder}"] += 1
        count, lines = self.shared.get(holder, (0, []))
        self.shared[holder] = count + 1, (lines if len(lines) == SHOWN or text in lines else [*lines, text])

    def extend(self, other: LeftOut) -> None:
        """Add what was left out of another source."""
        self.reasons.update(other.reasons)
        for holder, (count, lines) in other.shared.items():
            before, shown = self.shared.get(holder, (0, []))
            self.shared[holder] = before + count, list(dict.fromkeys([*shown, *lines]))[:SHOWN]

    def plain(self) -> dict[str, Any]:
        """Plain values from which `of` restores it."""
        return {"reasons": self.reasons, "shared": self.shared}

    @classmethod
    def of(cls, plain: dict[str, Any]) -> LeftOut:
        made = cls()
        made.reasons.update(plain["reasons"])
        made.shared = {holder: (count, lines) for holder, (count, lines) in plain["shared"].items()}
        return made

    def notes(self, table: str, split: str) -> list[str]:
        """Sentences about rows left out because another split contains them."""
        sentences = []
        for holder, (count, lines) in self.shared.items():
            there = holder if "." in holder else f"{table}.{holder}"
            told = ", ".join(f"'{line if len(line) <= SHORT else f'{line[: SHORT - 3]}...'}'" for line in lines)
            if count == 1:
                sentences.append(f"{table}.{split}: 1 line is left out because {there} has it: {told}.")
            else:
                sentences.append(
                    f"{table}.{split}: {count:,} lines are left out because {there} has them, the first: {told}."
                )
        return sentences
