"""Make the planned data of real corpora: recordings decoded once, and splits of tables that refer to them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import tee
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ablate.data import audio
from ablate.data.columns import ColumnWriter, column
from ablate.data.corpus import RecordingsConfig, SplitConfig
from ablate.data.parallel import ordered
from ablate.data.real import mixing
from ablate.data.real.canonical import BARE, UNKNOWN, Held, LeftOut
from ablate.data.real.scan import Sounds
from ablate.data.real.settings import RealSettings
from ablate.data.real.sources import ORIGIN
from ablate.data.real.split import SHORTEST, Reading
from ablate.data.recordings import Recordings, RecordingsWriter
from ablate.data.table import FRAME, Example, TableWriter
from ablate.errors import UserError
from ablate.store.kept import Kept, hashed


def plain(config: RealSettings) -> dict[str, Any]:
    """A configuration as plain values, with a root that is valid wherever a stage may run."""
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(RealSettings)}
    return json.loads(json.dumps({**fields, "root": os.path.abspath(config.root)}))


def _settings(values: Mapping[str, Any]) -> RealSettings:
    """The inverse of `plain`."""
    return RealSettings(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def voiced(config: RealSettings, split: str) -> bool:
    """Whether anything reads the speakers of a spoken split's rows."""
    return config.normalisation == "speaker" or split != "train"


def distinct(keys: bytes | bytearray) -> tuple[str, np.ndarray]:
    """The digest of the set of recordings with these keys (16 bytes each), and the index of each one's first use."""
    unique, first = np.unique(np.frombuffer(bytes(keys), "S16"), return_index=True)
    return hashed(unique.tobytes()).hex(), np.sort(first)


def _changed(config: RealSettings) -> UserError:
    return UserError(f"Data under '{config.root}' changed after this sweep was planned; run the command again.")


@dataclass(frozen=True, kw_only=True)
class RealRecordings(RecordingsConfig):
    """The recordings of a source of speech, decoded once for all tables that use them. `keys.u1` holds their keys, in
    order.
    """

    tag: ClassVar[str] = "real_recordings"
    recipe: ClassVar[int] = 2  # 2: without the recording's offset
    how: ClassVar[tuple[str, ...]] = ("corpus", "source")

    recordings: str
    """Digest of the set of their keys, each of which depends on the audio and on the part of the file."""
    count: int
    normalisation: str
    """Normalisation of log-mel, as in `RealSettings`."""
    corpus: dict[str, Any] = field(default_factory=dict)
    """Plain values of the `RealSettings` with which it is read."""
    source: str = ""
    """Name of the source."""

    def open(self, folder: Path) -> Recordings:
        return Recordings(folder, Path(self.corpus["root"]), self.normalisation, _Places(folder, self))

    def write(self, run: Any) -> dict[str, Any]:
        """Decode them with all cores. Raises UserError for a recording that cannot be used, or if they are not the
        planned ones.
        """
        config = _settings(self.corpus)
        reading = Reading(config)
        source = next(source for source in reading.sources if source.name == self.source)
        keys = bytearray()
        for _, key in reading.keys(source, reading.looking):
            keys += key
        digest, first = distinct(keys)
        if digest != self.recordings:
            raise _changed(config)
        wanted = np.zeros(len(keys) // 16, bool)
        wanted[first] = True

        stored, written = config.features == "stored", bytearray()
        listed, again = tee(one for one, new in zip(reading.keys(source, reading.faults), wanted) if new)
        hear = partial(_heard, normalisation=self.normalisation, stored=stored)
        hearing = contextlib.closing(ordered(hear, (row["recording"] for row, _ in again)))  # its processes end with it
        with hearing as heard, RecordingsWriter(run.files) as writer:
            for done, ((row, key), one) in enumerate(zip(listed, heard), 1):
                run.progress(min(done, self.count), self.count, unit="recordings")
                run.check()
                if isinstance(one, str):
                    reading.faults.report(one)
                    reading.spoilt(row, one)
                    continue
                place = None if stored else row["recording"].fields(Path(config.root))
                writer.add(one.mel_FM, one.frames, place, one.sum_M)
                written += key
            hours = round(writer.frames * FRAME / 3600, 4)
        if distinct(written)[0] != self.recordings:
            reading.kept.flush()
            raise _changed(config)
        column_of_keys = ColumnWriter(run.files / "keys.u1", "u1")
        column_of_keys.extend(np.frombuffer(bytes(written), "u1"))
        column_of_keys.close()
        return {"recordings": self.count, "hours": hours, "skipped": sorted(reading.faults.skipped)}


class _Places:
    """The current location of each recording of a folder: its location when the folder was written, if the audio there
    is unchanged; otherwise it is searched for in the source as it is now.
    """

    def __init__(self, folder: Path, config: RealRecordings) -> None:
        self.folder, self.config = folder, config
        self._before = Recordings(folder, Path(config.corpus["root"]))
        self._now: dict[bytes, audio.Recording] | None = None
        # Files that were verified: size, and time of change.
        self._same: dict[tuple[bytes, str], tuple[int, int]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _Places, (self.folder, self.config)

    def __call__(self, index: int) -> audio.Recording:
        """Raises UserError if the recording is missing or has changed."""
        key = self._keys[16 * index : 16 * index + 16]
        recording = self._before.written(index) if self._now is None else self._now.get(key)
        if self._now is None and not self._holds(recording, key):
            self._now = self._today()
            recording = self._now.get(key)
        if recording is None or not self._holds(recording, key):
            lay = self._before.written(index)
            raise UserError(
                f"{lay} is missing or has changed, and {self.config.source} has no recording with the same audio; "
                "restore it, or run the sweep command again."
            )
        return recording

    @cached_property
    def _keys(self) -> bytes:
        return column(self.folder / "keys.u1", "u1").tobytes()

    @cached_property
    def _sounds(self) -> Sounds:
        return Sounds(Kept())

    def _holds(self, recording: audio.Recording, key: bytes) -> bool:
        try:
            facts = os.stat(recording.file)
        except OSError:
            return False
        if self._same.get((key, recording.file)) != (facts.st_size, facts.st_mtime_ns):
            if self._sounds.key(recording) != key:
                return False
            self._same[key, recording.file] = facts.st_size, facts.st_mtime_ns
        return True

    def _today(self) -> dict[bytes, audio.Recording]:
        """By key, the recordings of the source as it is now."""
        reading = Reading(_settings(self.config.corpus))
        source = next(source for source in reading.sources if source.name == self.config.source)
        return {key: row["recording"] for row, key in reading.keys(source, reading.looking)}


def _heard(recording: audio.Recording, normalisation: str, stored: bool) -> audio.Heard | str:
    """The features of a recording, or the reason why it cannot be used."""
    try:
        heard = audio.hear(recording, normalisation, stored)
    except UserError as error:
        return str(error)
    if heard.frames * FRAME < SHORTEST:
        return f"{recording}: is shorter than {SHORTEST} s, although its header says more; replace the file."
    return heard


class _Keys:
    """The location of each recording: which of several recordings folders, and its number there."""

    def __init__(self, folders: Sequence[Path]) -> None:
        parts = [column(folder / "keys.u1", "u1").reshape(-1, 16) for folder in folders]
        keys = np.concatenate([np.empty((0, 16), "u1"), *parts])
        self._order = np.lexsort(keys.T[::-1])
        self._sorted = np.ascontiguousarray(keys[self._order]).view("S16").ravel()
        self._begins = np.cumsum([0, *map(len, parts)])

    def find(self, key: bytes) -> tuple[int, int] | None:
        """(folder, number) of a recording."""
        at = int(np.searchsorted(self._sorted, key))
        if at == len(self._sorted) or bytes(self._sorted[at]) != key.rstrip(b"\0"):  # numpy strips trailing zeros
            return None
        number = int(self._order[at])
        which = int(np.searchsorted(self._begins, number, "right")) - 1
        return which, number - int(self._begins[which])


@dataclass(frozen=True, kw_only=True)
class RealSplit(SplitConfig):
    """The rows of one split of one table. Neither its name nor the location of the data is part of its identity."""

    tag: ClassVar[str] = "real_split"
    recipe: ClassVar[int] = 1
    how: ClassVar[tuple[str, ...]] = ("corpus", "table", "split")

    digest: str
    """Digest of the rows in their canonical order (see `ablate.data.real.canonical`)."""
    rows: int
    normalisation: str = ""
    """Normalisation of log-mel, as in `RealSettings`; empty for text."""
    decoding: int = 0
    """Recipe of the recordings, by which their features are computed; 0 for text."""
    corpora: str = field(default="", metadata={"absent": '""'})
    """Digest of which rows are of one corpus, if corpora are mixed (see `ablate.data.real.mixing`)."""
    scoring: int = field(default=1, metadata={"absent": "1"})
    """`spelling.SCORING` of an evaluated split whose scores depend on it, otherwise 1."""
    corpus: dict[str, Any] = field(default_factory=dict)
    """Plain values of the `RealSettings` with which it is read."""
    table: str = ""
    split: str = ""

    def write(self, run: Any, recordings: Sequence[Any]) -> dict[str, Any]:
        config, keys = _settings(self.corpus), _Keys([one.files for one in recordings])

        reading, left_out = Reading(config), LeftOut()
        held = Held(bool(recordings) and voiced(config, self.split))
        opened = [Recordings(one.files) for one in recordings]
        mixed = mixing.corpora(config, (self.table, self.split))
        with TableWriter(run.files, [one.id for one in recordings]) as writer:
            for row, key, digest, origin in self._rows(reading, left_out):
                run.progress(min(len(held), self.rows), self.rows, unit="rows")
                run.check()
                held.add(digest, row.get("voice"), corpus=mixed.of.get(origin))
                if not recordings:
                    writer.add(row)
                    continue
                if (recording := keys.find(key)) is None:
                    raise _changed(config)
                which, number = recording
                frames = int(opened[which].starts[number + 1] - opened[which].starts[number])
                sum_M = opened[which].sums[number] if self.normalisation == "speaker" else None
                writer.add(row, recording=recording, frames=frames, sum_M=sum_M)
            digest, order = held.canonical()
            if digest != self.digest:
                raise _changed(config)
            corpora, numbers, _ = held.mixed(order) if self.corpora else ("", None, [])
            if corpora != self.corpora:
                raise _changed(config)
            writer.close(order, numbers)
        faults = reading.faults
        return {
            "rows": self.rows,
            "hours": writer.hours,
            "left_out": dict(sorted(left_out.reasons.items())),
            "shared": left_out.kept(),
            "skipped": sorted(faults.skipped),
            "known_faults": dict(faults.known),
        }

    def clusters(self, rows: Sequence[Example]) -> list[dict[str, str]]:
        """By speaker, unless the voice stands in for one, and by document; pairs of sentences by the first sentence,
        which several may have.
        """
        first: dict[str, str] = {}
        made = []
        for row, own in zip(rows, super().clusters(rows), strict=True):
            voice = own.pop("voice", None)
            named = {} if voice in (None, own.get("document")) else {"speaker": voice}
            pair = {"premise": first.setdefault(row["text"], str(row["id"]))} if "text_b" in row else {}
            made.append(named | own | pair)
        return made

    def _rows(self, reading: Reading, left_out: LeftOut) -> Iterator[tuple[Example, bytes, bytes, str]]:
        """The rows of the split as they are written, each with its recording's key, its digest, and the path in `data`
        that it comes from.
        """
        place = (self.table, self.split)
        for source in reading.of(place):
            for entry in reading.rows(source, {place: left_out}, reading.faults):
                if place in entry.places:
                    unread = ("document",) * (self.split == "train") + ("text",) * (place == BARE)
                    unwritten = ("recording", ORIGIN, UNKNOWN, *unread)
                    row = {name: value for name, value in entry.row.items() if name not in unwritten}
                    for _ in range(entry.places.count(place)):
                        yield row, entry.key, entry.digest(place), entry.row.get(ORIGIN, source.name)
