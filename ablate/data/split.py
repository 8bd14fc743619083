"""Which split each row of a source goes to: "dev" held out by a hash of its text, and no text in two splits."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ablate.data.lines import Faults
from ablate.data.readers import Row
from ablate.data.sources import Place, Source

TEXTS = ("text", "text_b", "translation", "written", "spoken")


class Splits:
    """Read all sources once to see what evaluated splits hold, and what is held out; remembers nothing else.

    Memory grows with what is evaluated, never with what is trained on: rows are known by 8 bytes of a hash.
    """

    def __init__(self, sources: Sequence[Source], faults: Faults, held_out: int, lower: bool) -> None:
        self.lower = lower
        self.rows = [0] * len(sources)
        self.left_out: Counter[str] = Counter()
        self._holders: dict[str, dict[bytes, str]] = {}
        self._dev: list[set[int]] = []
        self._train: list[set[int] | None] = []
        for place, source in enumerate(sources):
            lowest: list[tuple[int, int, bytes, bytes]] = []  # of the held-out hash, as a heap of negated values
            room = held_out + (source.most or 0)
            evaluated = [p for p in source.places if not source.held_out and p[1] != "train"]
            for number, row in enumerate(self.labelled(source, faults)):
                self.rows[place] += 1
                for table, split in evaluated:
                    self._hold(table, split, _key(row), _text(row))
                if source.held_out:
                    entry = (-_drawn(source.places[0][0], row), number, _key(row), _text(row))
                    if len(lowest) < room:
                        heapq.heappush(lowest, entry)
                    elif entry > lowest[0]:
                        heapq.heapreplace(lowest, entry)
            first = sorted(lowest, key=lambda entry: (-entry[0], entry[1]))
            count = min(held_out, max(1, self.rows[place] // 10)) if source.held_out else 0
            self._dev.append({number for _, number, _, _ in first[:count]})
            kept = first[count:][: source.most]
            self._train.append({number for _, number, _, _ in kept} if source.most is not None else None)
            for _, _, key, text in first[:count]:
                self._hold(source.places[0][0], "dev", key, text)

    def _hold(self, table: str, split: str, key: bytes, text: bytes) -> None:
        held = self._holders.setdefault(table, {})
        if split != "dev" or key not in held:  # where dev and test share a text, test keeps it
            held[key] = split
        if text and table != "text":
            self._holders.setdefault("text", {}).setdefault(text, f"{table}.{split}")

    def labelled(self, source: Source, faults: Faults) -> Iterator[Row]:
        """Read a source, its texts with single spaces, and lower-cased if so chosen."""
        for row in source.read(faults):
            for field in TEXTS:
                if field in row:
                    row[field] = " ".join((row[field].lower() if self.lower else row[field]).split())
            yield row

    def placed(self, sources: Sequence[Source], faults: Faults) -> Iterator[tuple[Row, list[Place]]]:
        """Read all sources again, each row with the splits that it goes to; what goes nowhere is left out and counted."""
        for place, source in enumerate(sources):
            for number, row in enumerate(self.labelled(source, faults)):
                places = self._places(source, place, number)
                if not source.spoken:
                    places = [p for p in places if not self._elsewhere(p, row)]
                if places:
                    yield row, places

    def _places(self, source: Source, place: int, number: int) -> Iterable[Place]:
        if not source.held_out:
            return list(source.places)
        table = source.places[0][0]
        if number in self._dev[place]:
            return [(table, "dev")]
        chosen = self._train[place]
        return [(table, "train")] if chosen is None or number in chosen else []

    def _elsewhere(self, place: Place, row: Row) -> bool:
        """Whether another split holds this text; counted. Test sets stay whole, and the dev of text-only data may hold what
        other tables test.
        """
        table, split = place
        holder = self._holders.get(table, {}).get(_key(row), split)
        if holder == split or split not in ("train", "dev") or table == "text" and split != "train":
            return False
        self.left_out[f"{table}.{split}: the same text is in {holder}"] += 1
        return True


def _key(row: Row) -> bytes:
    """What must not be in two splits: a row's source texts."""
    return _hash(*(row[field] for field in ("text", "text_b", "written") if field in row))


def _text(row: Row) -> bytes:
    """The key of a row's text alone, which text-only training data must not hold; nothing for pairs of sentences."""
    return _hash(row["text"]) if "text" in row and "text_b" not in row else b""


def _drawn(table: str, row: Row) -> int:
    """The place of a row in the order by which "dev" is held out: equal texts lie together."""
    return int.from_bytes(_hash("held out", table, _key(row).hex()), "big")


def _hash(*texts: str) -> bytes:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=8).digest()
