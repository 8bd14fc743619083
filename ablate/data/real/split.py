"""Which rows a split of real corpora contains: planning and writing use this same code to read them.

"dev" is held out by a hash of a row's text. No text of a text-only table and no recording of a spoken one is in two of
its splits; pre-training has none that any table tests or selects by. A row is identified by a digest of everything that
anything reads of it, and a split has its rows in the order of their digests.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import json
import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ablate.data import audio
from ablate.data.lines import Faults
from ablate.data.parallel import ordered
from ablate.data.real.canonical import TEXTS, UNKNOWN, Found, LeftOut, digest
from ablate.data.real.scan import LOOKING, Sound, Sounds, content, part, told
from ablate.data.real.settings import RealSettings
from ablate.data.real.sources import Place, Source, of_split, sources
from ablate.data.spelling import composed, lowered
from ablate.data.table import FRAME, Example
from ablate.errors import UserError
from ablate.store.kept import Kept, hashed

CHOICE = 1  # raised by hand when different rows are held out of the same texts
SPELLING = 2  # raised by hand when texts are spelt differently after reading: part of what is cached about them
SHORTEST = 0.1  # seconds; a shorter recording is a segmentation fault, and leaves no positions to predict
PAIRED = ("pairs", "retrieval")  # tables to which a recording without words means nothing
UNLABELLED = ("speech", "pairs")  # pre-training streams crop or leave out by limits of their own
NO_TEXT = "no text"  # why a row is left out that has to have one
EVERY = ""  # for "all tables", in what evaluated splits hold
_AT_ONCE = 512  # number of recordings that are looked up together


class Choice(NamedTuple):
    """The rows held out of a source, by number, and those chosen for training (None: all the rest)."""

    dev: set[int]
    train: set[int] | None
    held: list[tuple[bytes, bytes]]
    """Keys of the rows held out, and keys of their texts alone."""


class Spoken(NamedTuple):
    """What the evaluated splits of some tables hold: by recording's key, by row's id and by speaker, the split."""

    keys: dict[bytes, str]
    ids: dict[str, str]
    voices: dict[str, str]


Usable = Callable[[Example, bytes], str]
"""Returns why a recording with a valid header still cannot be used, or ''."""


class Reading:
    """Reads what a configuration names; if faults are skipped, all recordings are read once before.

    Memory grows with the evaluated rows, never with the training rows: those are represented by 8 bytes of a hash.
    """

    def __init__(self, config: RealSettings) -> None:
        self.config, self.root = config, Path(config.root)
        self.sources = sources(config)
        self.kept = Kept()
        self.faults, self.looking = self._fresh(), self._fresh()  # for rows that are taken, and for reading ahead
        self._sounds = Sounds(self.kept)
        self._choices: dict[str, Choice] = {}
        self._holders: dict[str, dict[bytes, str]] = {}
        self._spoken: dict[str, Spoken] = {}
        self._found: dict[str, bool] = {}
        self._bad: dict[str, dict[audio.Recording, str]] = {}
        self._states: dict[str, list[Any]] = {}
        self.mixed: dict[str, tuple[int, str]] = {}
        """By source, the most channels of a recording that are averaged, and its file."""
        self.unlike: dict[str, dict[str, tuple[float, float]]] = {}
        """By source and file, seconds of recordings that are not as long as the source states, and what it states."""

    def _fresh(self) -> Faults:
        return Faults(self.config.on_error == "skip", self.config.most_skipped, self.root)

    def _there(self, source: Source) -> bool:
        if source.name not in self._found:
            self._found[source.name] = not source.lacks(self.config.root)
        return self._found[source.name]

    def of(self, place: Place) -> list[Source]:
        """The sources of a split."""
        return of_split(self.sources, place)

    def rows(self, source: Source, left_out: Mapping[Place, LeftOut], faults: Faults) -> Iterator[Found]:
        """Read a source; each row comes with those splits of `left_out` that contain it. Rows that a split does not
        take are counted there.
        """
        speakers = source.spoken and source.speakers()
        for number, (row, key, frames) in enumerate(self._heard(source, faults)):
            places = []
            for place in self._places(source, number):
                if (out := left_out.get(place)) is None:
                    continue
                if source.spoken:
                    if reason := self._unusable(*place, row, frames, source.asks):
                        out.reasons[reason] += 1
                        continue
                    if self._shares(place, row, key, speakers, out):
                        continue
                elif holder := self._holder(place, row):
                    out.overlaps("text", holder, row.get("text", row.get("written", "")))
                    continue
                places.append(place)
            if places or source.spoken:
                yield Found(row, key, frames, places)

    def keys(self, source: Source, faults: Faults) -> Iterator[tuple[Example, bytes]]:
        """The rows of a source whose recordings are long enough to be used, and the recordings' keys."""
        return ((row, key) for row, key, frames in self._heard(source, faults) if frames * FRAME >= SHORTEST)

    def _labelled(self, source: Source, faults: Faults) -> Iterator[Example]:
        """Read a source, with its texts composed and single spaces in them, lower-cased if so configured."""
        spelt = (lambda text: lowered(composed(text))) if self.config.lower else composed
        for row in source.read(faults):
            if source.spoken and "text" not in row:  # a corpus may have transcripts of only some recordings
                row |= {"text": "", UNKNOWN: True}
            for field in TEXTS:
                if field in row:
                    row[field] = " ".join(spelt(row[field]).split())
            yield row

    def _heard(self, source: Source, faults: Faults) -> Iterator[tuple[Example, bytes, int]]:
        """Read a source; each row comes with its recording's key and number of frames, unless it cannot be used."""
        if not source.spoken:
            yield from ((row, b"", 0) for row in self._labelled(source, faults))
            return
        usable = self.scanned(source)
        for row, _, key, frames in self._looked(source, faults):
            if frames * FRAME >= SHORTEST and (fault := usable(row, key)):
                faults.report(fault)
            else:
                yield row, key, frames

    def _looked(self, source: Source, faults: Faults) -> Iterator[tuple[Example, Sound, bytes, int]]:
        """Read a source; each row comes with what the header says about its recording."""
        rows = self._labelled(source, faults)
        while some := list(islice(rows, _AT_ONCE)):
            for row, sound in zip(some, self._sounds.of([row["recording"] for row in some])):
                if isinstance(sound, str):
                    missing = not os.path.exists(row["recording"].file)
                    line = faults.naming(row["recording"].file) if missing or not faults.skip else ""
                    faults.report(f"{line}: {sound}" if line else sound)
                    continue
                try:
                    key, frames = part(sound, row["recording"]), audio.expected(row["recording"], sound.head)
                except UserError as error:
                    segment = row["recording"].start or row["recording"].stop is not None
                    line = faults.naming(row["id"]) if segment else ""
                    faults.report(f"{line}: {error}" if line else str(error))
                    continue
                stated, (samples, rate, *_) = row.pop("stated", None), sound.head
                if stated is not None and not sound.head.estimated and abs(samples - stated) > audio.SLACK * rate:
                    self.unlike.setdefault(source.name, {})[row["recording"].file] = samples / rate, stated / rate
                if row["recording"].channel is None and sound.head.channels > self.mixed.get(source.name, (1, ""))[0]:
                    self.mixed[source.name] = sound.head.channels, row["recording"].name
                yield row, sound, key, frames
        self.kept.flush()

    # Recordings with a valid header that still cannot be used ---------------------------------------------------

    def scanned(self, source: Source) -> Usable:
        """Read all recordings of a source that were not read before, if faults are skipped, and return a function that
        judges them by the result.
        """
        if self.config.on_error != "skip":
            return lambda row, key: ""
        if source.name not in self._bad:
            bad = self._bad[source.name] = {}
            waiting: deque[tuple[audio.Recording, bytes]] = deque()

            def unknown() -> Iterator[audio.Recording]:
                for row, sound, key, frames in self._looked(source, self.looking):
                    recording, judged = row["recording"], _judged(key, sound)
                    if (why := self.kept.get(judged)) is None and frames * FRAME >= SHORTEST:
                        waiting.append((recording, judged))
                        yield recording
                    elif why:
                        bad[recording] = why.decode()

            with contextlib.closing(ordered(attempt, unknown())) as heard:  # its processes end with it
                for fault in told(heard, f"Scanning {source.name}", "recordings"):
                    recording, judged = waiting.popleft()
                    why = fault.removeprefix(recording.name)
                    if fault:
                        self.looking.report(fault)
                        bad[recording] = why
                    self.kept.put(judged, why.encode())
            self.kept.flush()
        bad = self._bad[source.name]
        return lambda row, key: f"{row['recording'].name}{bad[row['recording']]}" if row["recording"] in bad else ""

    def spoilt(self, row: Example, fault: str) -> None:
        """Record that a recording which was judged good before cannot be used."""
        (sound,) = self._sounds.of([row["recording"]])
        if not isinstance(sound, str):
            judged = _judged(part(sound, row["recording"]), sound)
            self.kept.put(judged, fault.removeprefix(row["recording"].name).encode())

    # Which splits a row goes to ---------------------------------------------------------------------------------

    def _places(self, source: Source, number: int) -> Iterable[Place]:
        if not source.held_out and source.most is None:
            return source.places
        table, chosen = source.places[0][0], self.choice(source)
        if number in chosen.dev:
            return [(table, "dev")]
        return [(table, "train")] if chosen.train is None or number in chosen.train else []

    def choice(self, source: Source) -> Choice:
        """The rows of a source that are held out or trained on; for texts, cached by the content of the files."""
        if source.name not in self._choices:
            if source.spoken:
                self._choices[source.name] = self._choose(source, self.looking)
            else:
                held_out = self.config.held_out if source.held_out else 0
                what = ["choice", CHOICE, source.places[0][0], held_out, source.most, *self.state(source)]
                dev, train, held = self.remembered(
                    what, lambda faults: _plain(self._choose(source, faults)), self.looking
                )
                keys = [(bytes.fromhex(key), bytes.fromhex(text)) for key, text in held]
                self._choices[source.name] = Choice(set(dev), None if train is None else set(train), keys)
        return self._choices[source.name]

    def _choose(self, source: Source, faults: Faults) -> Choice:
        """Take the rows whose texts have the lowest hashes: first those held out, then those for training."""
        table, held_out = source.places[0][0], self.config.held_out if source.held_out else 0
        lowest: list[tuple[int, int, bytes, bytes]] = []  # a heap of negated values
        room, count = held_out + (source.most or 0), 0
        for number, (row, key, _) in enumerate(told(self._heard(source, faults), f"Looking at {source.name}", "rows")):
            count += 1
            drawn = _hash("held out", table, _key(row).hex())  # equal texts get equal hashes
            if len(lowest) == room and -int.from_bytes(drawn + bytes(16), "big") < lowest[0][0]:
                continue
            entry = (-int.from_bytes(drawn + digest(key, row), "big"), number, _key(row), _text(row))
            if len(lowest) < room:
                heapq.heappush(lowest, entry)
            elif entry > lowest[0]:
                heapq.heapreplace(lowest, entry)
        first = sorted(lowest, key=lambda entry: (-entry[0], entry[1]))
        size = min(held_out, max(1, count // 10))
        train = None if source.most is None else {number for _, number, _, _ in first[size:][: source.most]}
        return Choice(
            {number for _, number, _, _ in first[:size]}, train, [(key, text) for *_, key, text in first[:size]]
        )

    def _unusable(self, table: str, split: str, row: Example, frames: int, asks: Iterable[str]) -> str:
        """Say why a spoken row cannot be used in a table, or ''."""
        seconds, (long, short) = frames * FRAME, self.limits
        if seconds < SHORTEST:
            return short
        silent = split.startswith("test") and table not in PAIRED and UNKNOWN not in row and tuple(asks) == ("text",)
        if table != "speech" and not silent and any(row.get(field) in (None, "") for field in asks):
            return NO_TEXT
        if split == "train" and table not in UNLABELLED and seconds > self.config.max_seconds:
            return long
        return ""

    @property
    def limits(self) -> dict[str, str]:
        """Reasons to leave out a recording by its length, the upper one first, with the setting behind each."""
        return {f"longer than {self.config.max_seconds:g} s": "data.max_seconds", f"shorter than {SHORTEST} s": ""}

    # What is in another split -----------------------------------------------------------------------------------

    def _holder(self, place: Place, row: Example) -> str:
        """The split that already contains a row's text, or ''. Test sets stay complete, and dev splits of text-only
        data may contain what other tables test.
        """
        table, split = place
        if split not in ("train", "dev"):
            return ""
        key = _key(row)
        holder = self.holders(table).get(key, split)
        if holder == split and place == ("text", "train"):
            return self.holders(EVERY).get(key, "")
        return "" if holder == split else holder

    def holders(self, table: str) -> dict[bytes, str]:
        """The keys in evaluated splits of a table; for `EVERY`, the keys of single texts in all tables except "text".

        Sources that are not there hold nothing.
        """
        if table not in self._holders:
            held = self._holders[table] = {}
            for source in self.sources:
                evaluated = _evaluated(source, table)
                if evaluated and self._there(source):
                    for key, text in self._evaluated_keys(source):
                        _hold(held, table, evaluated, key, text)
        return self._holders[table]

    def _shares(self, place: Place, row: Example, key: bytes, speakers: bool, out: LeftOut) -> bool:
        """Whether an evaluated split contains a row's recording; counts that in `out`, else whether it has its speaker
        or its id. As for texts, test sets stay complete, dev gives way to test, and for pre-training all tables count.
        """
        table, split = place
        if split not in ("train", "dev"):
            return False
        held = self.spoken(EVERY if split == "train" and table in UNLABELLED else table)
        if (there := held.keys.get(key, split)) != split:
            out.overlaps("recording", there, str(row["id"]))
            return True
        if (there := held.ids.get(row["id"], split)) != split:
            out.shares("id", there, str(row["id"]))
        if speakers and (there := held.voices.get(row["voice"], split)) != split:
            out.speaks(there, row["voice"])
        return False

    def spoken(self, table: str) -> Spoken:
        """What evaluated splits of a spoken table hold; for `EVERY`, those of all tables. If dev and test share
        something, test has it. Sources that are not there hold nothing.
        """
        if table not in self._spoken:
            held = self._spoken[table] = Spoken({}, {}, {})
            for source in (one for one in self.sources if one.spoken):
                places = [place for place in _evaluated(source, EVERY) if table in (EVERY, place[0])]
                if not places or not self._there(source):
                    continue
                names = [split if table else f"{of}.{split}" for of, split in places]
                name = next((name for name in names if not _dev(name)), names[0])
                speakers = source.speakers()
                for row, key in self._evaluated_rows(source):
                    _claim(held.keys, key, name)
                    _claim(held.ids, row["id"], name)
                    if speakers and row["voice"]:
                        _claim(held.voices, row["voice"], name)
        return self._spoken[table]

    def _evaluated_rows(self, source: Source) -> Iterator[tuple[Example, bytes]]:
        """A spoken source's evaluated rows and their recordings' keys."""
        if not source.held_out:
            return ((row, key) for row, _, key, _ in self._looked(source, self.looking))
        chosen = self.choice(source).dev
        rows = enumerate(self._heard(source, self.looking))
        return ((row, key) for number, (row, key, _) in rows if number in chosen)

    def _evaluated_keys(self, source: Source) -> Iterable[tuple[bytes, bytes]]:
        """Keys of a source's evaluated rows, and keys of their texts alone."""
        if source.held_out:
            return self.choice(source).held
        return ((_key(row), _text(row)) for row in self._labelled(source, self.looking))

    # Texts are read once, whatever is planned with them ---------------------------------------------------------

    def state(self, source: Source) -> list[Any]:
        """The content of a text source, and how it is read."""
        if source.name not in self._states:
            files = [[path.suffixes, content(path, self.kept)] for path in source.files()]
            self._states[source.name] = [source.layout, SPELLING, self.config.lower, files]
        return self._states[source.name]

    def remembered(self, what: Any, make: Callable[[Faults], Any], faults: Faults) -> Any:
        """Return what `make` computes from texts, cached by `what` it depends on, and report the faults found
        with it.
        """

        def made() -> list[Any]:
            fresh = self._fresh()
            return [make(fresh), fresh.skipped]

        value, skipped = self.kept.of(what, made)
        for fault in skipped:
            faults.report(fault)
        return value


def _plain(choice: Choice) -> list[Any]:
    train = None if choice.train is None else sorted(choice.train)
    return [sorted(choice.dev), train, [[key.hex(), text.hex()] for key, text in choice.held]]


def _evaluated(source: Source, table: str) -> list[Place]:
    """The evaluated splits of a table that a source's rows go to; for `EVERY`, those of all tables except "text"."""
    places = [(source.places[0][0], "dev")] if source.held_out else [p for p in source.places if p[1] != "train"]
    return [place for place in places if place[0] == table or not table and place[0] != "text"]


def _hold(held: dict[bytes, str], table: str, places: Sequence[Place], key: bytes, text: bytes) -> None:
    """Add a row to the result of `Reading.holders` for a table: which of the splits it goes to contains it."""
    for owner, split in places:
        if not table and text:
            held.setdefault(text, f"{owner}.{split}")
        elif table and (split != "dev" or key not in held):  # if dev and test share a text, test keeps it
            held[key] = split


def _claim(held: dict[Any, str], what: Any, name: str) -> None:
    """Note that a split has something; a test split also where dev has it."""
    if what not in held or _dev(held[what]):
        held[what] = name


def _dev(name: str) -> bool:
    return name.rpartition(".")[2] == "dev"


def _judged(key: bytes, sound: Sound) -> bytes:
    """Cache key for the reason why a recording cannot be used, or for '' if it can: of one file, until it is touched.
    Another one with the same key, which may come from its header alone, can be whole where this breaks off.
    """
    return b"j" + bytes([LOOKING]) + hashed(key, struct.pack("<QqQ", sound.size, sound.changed, sound.inode))


def attempt(recording: audio.Recording) -> str:
    """Read a recording, and return why that is impossible, or ''."""
    try:
        audio.frames(recording)
    except UserError as error:
        return str(error)
    return ""


def _key(row: Example) -> bytes:
    """The key of a row's source texts, which must not be in two splits."""
    return _hash(*(row[field] for field in ("text", "text_b", "written") if field in row))


def _text(row: Example) -> bytes:
    """The key of a row's text alone, which text-only training data must not contain; empty for pairs of sentences."""
    return _hash(row["text"]) if "text" in row and "text_b" not in row else b""


def _hash(*texts: str) -> bytes:
    return hashlib.blake2b(json.dumps(texts).encode(), digest_size=8).digest()
