"""Real corpora: the same tables as the built-in world, read from the corpora's own layouts.

Differences from the built-in world that matter when reading results:

- All text is lower-case (unless `lower` is off), including written text. Punctuation is kept if the corpus has it.
- `asr.test` is LibriSpeech's test-clean and `asr.test_unseen` its test-other: all their voices are unseen in training.
- GLUE publishes no labels for its test sets: "test" is GLUE's dev (for MNLI the matched one; "test_mismatched" is the
  other), and "dev" is held out of GLUE's train. SST-2's train contains phrases of the same sentences, so that dev is
  easier. A test.tsv that has labels is "test", and dev.tsv then "dev".
- A CoVoST folder without a test file gives its dev as "test", and "dev" is held out of its train.
- Pre-training text contains no line that a dev or test split of any table has as its text; text-only tables never share
  a text between splits. In the same way pre-training speech contains no recording of a dev or test split of any table,
  and spoken tables never share a recording between splits; speakers in two splits are only told. The result of each
  split counts what is left out for this reason or by the length limit.
- Texts are composed (Unicode's NFC) when they are read.
- A split is identified by the digest of its rows: the same data at another place, or listed in another way, are the
  same splits, and a new test set changes a training split only if the two share a text.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ablate.data.corpus import CorpusConfig, Split
from ablate.data.lines import Faults
from ablate.data.real import mixing
from ablate.data.real.canonical import BARE, Held, LeftOut
from ablate.data.real.layouts import registry
from ablate.data.real.layouts.glue import GLUE
from ablate.data.real.made import RealRecordings, RealSplit, distinct, plain, voiced
from ablate.data.real.scan import told
from ablate.data.real.settings import RealSettings
from ablate.data.real.sources import ORIGIN, OWN, Place, Source, columns, of_split, sources, table_of, tables
from ablate.data.real.split import NO_TEXT, SHORTEST, Reading
from ablate.data.recordings import BINS
from ablate.data.spelling import SCORING
from ablate.data.table import FRAME
from ablate.errors import UserError, nearest, plural
from ablate.store.kept import hashed


@dataclass(frozen=True, kw_only=True)
class RealConfig(RealSettings, CorpusConfig):
    """Real corpora as data of a sweep. What `resolved` returns caches what it read: each file is read once."""

    tag: ClassVar[str] = "real"
    how: ClassVar[tuple[str, ...]] = ("root", "features", "on_error", "most_skipped")

    @property
    def by_speaker(self) -> bool:
        return self.normalisation == "speaker"

    @property
    def added(self) -> tuple[str, ...]:
        return tuple(self.tests)

    def resolved(self) -> RealConfig:
        """Check the settings, without looking at the data, and return a copy of this config. Raises UserError."""
        self.validate()
        return dataclasses.replace(self)

    def tables(self) -> dict[str, set[str]]:
        return tables(self._sources)

    def columns(self, table: str) -> set[str]:
        return self._columns[table]

    @cached_property
    def _columns(self) -> dict[str, set[str]]:
        return columns(self._sources)

    @cached_property
    def _sources(self) -> list[Source]:
        return sources(self)

    @cached_property
    def _lacks(self) -> dict[str, list[str]]:
        return {source.name: source.lacks(self.root) for source in self._sources}

    def missing(self, table: str, split: str) -> list[str]:
        return [one for source in of_split(self._sources, (table, split)) for one in self._lacks[source.name]]

    def need(self, places: Iterable[Place]) -> None:
        missing = list(dict.fromkeys(one for place in places for one in self.missing(*place)))
        if not missing:
            return
        if not self.root:
            raise UserError("data.root is not set, expected the folder that holds the corpora; add data.root=PATH.")
        if not Path(self.root).is_dir():
            raise UserError(f"data.root is '{self.root}', which is not a folder; set it to the folder of the corpora.")
        raise UserError(
            f"data.root '{self.root}' lacks {', '.join(missing)}; add the files, set the right relative path, or "
            "leave a corpus out by setting its path to '' (a list of paths to [])."
        )

    def split(self, table: str, split: str) -> Split:
        """The content of one split; reads its rows if that was not done before. Raises UserError for data that are
        missing or cannot be used.
        """
        self.need([(table, split)])
        return self._plan.split((table, split))

    @cached_property
    def _plan(self) -> _Plan:
        return _Plan(self)

    def validate(self) -> None:
        """Raise UserError for an invalid setting."""
        for name, made in (("directions", self.directions), ("glue", [table_of(folder) for folder in self.glue])):
            if twice := [one for one, n in Counter(made).items() if n > 1]:
                raise UserError(
                    f"data.{name} has '{twice[0]}' twice, which would be trained and scored on twice; remove one."
                )
        folders = [(folder, None, "glue") for folder in self.glue]
        for folder, pairs, name in (
            (self.sentiment, False, "sentiment"),
            (self.sentence_pair, True, "sentence_pair"),
            *folders,
        ):
            valid = [
                n for n, task in GLUE.items() if pairs is None or task.classes and (task.text_b is not None) == pairs
            ]
            if folder and Path(folder).name not in valid:
                raise UserError(
                    f"data.{name} has '{folder}', whose last part names no fitting GLUE task: "
                    f"{nearest(Path(folder).name, valid)}"
                )
        for name in self.labelled:
            registry.table(name)
            if name in OWN:
                raise UserError(f"data.labelled has '{name}', which has a setting of its own; write data.{name}.")
        self._check_tests()
        mixing.check(self)

    def _check_tests(self) -> None:
        """Raise UserError for an invalid further test split."""
        made = tables(sources(dataclasses.replace(self, tests={})))
        for name in self.tests:
            table, _, split = name.partition(".")
            if table not in made:
                known = nearest(table, sorted(made))
                raise UserError(f"data.tests has '{name}', but the data have no table '{table}': {known}")
            if not split.startswith("test"):
                raise UserError(
                    f"data.tests has '{name}', expected TABLE.test_NAME: write '{table}.test_{split or 'NAME'}'."
                )
            if split in made[table]:
                raise UserError(f"data.tests has '{name}', which is there already; give it another name.")


class _Looked:
    """The rows of a source in each of the splits that use it, and its recordings."""

    def __init__(self, config: RealConfig, reading: Reading, source: Source) -> None:
        table = source.places[0][0]
        places = [(table, "train"), (table, "dev")] if source.held_out else source.places
        self.held = {place: Held(voiced(config, place[1])) for place in places}
        self.left_out = {place: LeftOut() for place in places}
        mixed = {place: mixing.corpora(config, place) for place in places}
        reading.scanned(source)
        keys, frames, before = bytearray(), array("q"), len(reading.faults.skipped)
        rows = reading.rows(source, self.left_out, reading.faults)
        for row in told(rows, f"Looking at {source.name}", "recordings"):
            if row.frames * FRAME >= SHORTEST:
                keys += row.key
                frames.append(row.frames)
            digests: dict[bool, bytes] = {}
            for place in row.places:
                bare = place == BARE
                if bare not in digests:
                    digests[bare] = row.digest(place)
                said, corpus = {} if bare else row.row, mixed[place].of.get(source.name)
                self.held[place].add(digests[bare], row.row["voice"], said, corpus)
        self.recordings, first = distinct(keys)
        self.count, self.skipped = len(first), reading.faults.skipped[before:]
        stored = config.features == "stored"
        self.disk = 2.0 * BINS * int(np.array(frames)[first].sum()) if stored else 0.0  # float16


class _Plan:
    """What is known about the splits of a configuration; each source is read once."""

    def __init__(self, config: RealConfig) -> None:
        self.config, self.reading, self.plain = config, Reading(config), plain(config)
        self._looked: dict[str, _Looked] = {}

    def split(self, place: Place) -> Split:
        """The content of a split. Raises UserError if it has no rows."""
        origins = self.reading.of(place)
        held, left_out, recordings, disk, notes = (self._spoken if origins[0].spoken else self._written)(place, origins)
        self.reading.kept.flush()
        digest, count, texts, disputed, corpora, numbers = held
        mix = None
        if corpora:
            mixed, heat = mixing.corpora(self.config, place), mixing.temperature(self.config)
            mix = mixed.mix(numbers, heat)
            notes = [*notes, f"{'.'.join(place)}: data.mix draws from {mixed.said(heat)}."]
        why = ", ".join(f"{n} × {reason}" for reason, n in sorted(left_out.reasons.items()))
        if not count:
            if left_out.reasons[NO_TEXT] and (instead := [said for source in origins if (said := source.wordless())]):
                why = why.replace(NO_TEXT, f"{NO_TEXT}: {'; '.join(instead)}")
            why = why or f"there is none in {', '.join(source.name for source in origins)}"
            raise UserError(f"No row of {'.'.join(place)} can be used ({why}); add data, or change what is left out.")
        limits, whole = self.reading.limits, count + left_out.reasons.total()
        if 2 * left_out.reasons[next(iter(limits))] > whole:
            raise UserError(
                f"data.max_seconds would leave out more than half of {'.'.join(place)} ({why}, of {whole} rows); raise "
                "it, or cut the recordings."
            )
        spoken = self.config.normalisation if origins[0].spoken else ""
        config = RealSplit(
            digest=digest,
            rows=count,
            normalisation=spoken,
            decoding=RealRecordings.recipe if spoken else 0,
            corpora=corpora,
            scoring=SCORING if disputed and place[1] != "train" else 1,
            corpus=self.plain,
            table=place[0],
            split=place[1],
        )
        return Split(config, recordings, (*notes, *left_out.notes(*place, count, limits)), texts, count, disk, mix)

    def _spoken(self, place: Place, origins: Sequence[Source]) -> Made:
        held, left_out, notes = Held(voiced(self.config, place[1])), LeftOut(), []
        recordings: dict[str, RealRecordings] = {}
        disk: dict[str, float] = {}
        for source in origins:
            if source.name not in self._looked:
                self._looked[source.name] = _Looked(self.config, self.reading, source)
            looked = self._looked[source.name]
            held.extend(looked.held[place])
            left_out.extend(looked.left_out[place])
            notes += _skipped(source, looked.skipped)
            if source.name in self.reading.mixed:
                channels, file = self.reading.mixed[source.name]
                notes.append(
                    f"data: recordings of {source.name} have up to {channels} channels, which are averaged "
                    f"({Path(file).name}); a manifest of segments (STM, lhotse) can choose one."
                )
            if unlike := self.reading.unlike.get(source.name):
                file, (seconds, stated) = min(unlike.items())
                count = f"{plural(len(unlike), 'recording')} of {source.name} {'is' if len(unlike) == 1 else 'are'}"
                notes.append(
                    f"data: {count} not as long as it states ({Path(file).name}: {seconds:.2f} s, not {stated:.2f}); "
                    "is it a list of these files?"
                )
            if looked.count:
                disk.setdefault(looked.recordings, looked.disk)
                recordings.setdefault(
                    looked.recordings,
                    RealRecordings(
                        recordings=looked.recordings,
                        count=looked.count,
                        normalisation=self.config.normalisation,
                        corpus=self.plain,
                        source=source.name,
                    ),
                )
        return _digest(held), left_out, tuple(recordings.values()), tuple(disk.values()), notes

    def _written(self, place: Place, origins: Sequence[Source]) -> Made:
        """A split of texts, cached by the content of its files and what other splits contain of it."""
        reading, config = self.reading, self.config
        tested = place[1].startswith("test")
        others = {} if tested else reading.holders(place[0])
        lines = reading.holders("") if place[0] == "text" and not tested else {}
        taken = hashed(
            *(key + holder.encode() + b"\n" for held in (others, lines) for key, holder in sorted(held.items()))
        )
        states = [[source.held_out, source.most, *reading.state(source)] for source in origins]
        places = (
            [(place[0], split) for split in ("train", "dev")] if any(source.held_out for source in origins) else [place]
        )

        def made(faults: Faults) -> dict[str, Any]:
            held, left_out = {one: Held(False) for one in places}, {one: LeftOut() for one in places}
            mixed = {one: mixing.corpora(config, one).of for one in places}
            for source in origins:
                for row in told(reading.rows(source, left_out, faults), f"Looking at {source.name}", "rows"):
                    for one in row.places:
                        held[one].add(row.digest(one), None, row.row, mixed[one].get(row.row.get(ORIGIN)))
            return {one[1]: [_digest(held[one]), left_out[one].plain()] for one in places}

        before = len(reading.faults.skipped)
        of = mixing.corpora(config, (place[0], "train")).of
        what = ["split, texts, corpora, shared", RealSplit.recipe, places, config.held_out, states, taken.hex()]
        what += [[of[path] for path in config.text]] if of else []
        held, left_out = reading.remembered(what, made, reading.faults)[place[1]]
        return held, LeftOut.of(left_out), (), (), _skipped(origins[0], reading.faults.skipped[before:])


Made = tuple[Sequence[Any], LeftOut, tuple[RealRecordings, ...], tuple[float, ...], list[str]]
"""The digest and number of a split's rows with its texts' digests by field, whether any is disputed, the digest of its
corpora and their given numbers; what is left out of it; its recordings and their bytes; notes.
"""


def _digest(held: Held) -> tuple[str, int, dict[str, str], bool, str, list[int]]:
    if not len(held):
        return "", 0, {}, False, "", []
    texts = {field: f"{total % (1 << 128):032x}" for field, total in sorted(held.texts.items())}
    digest, order = held.canonical()
    corpora, _, numbers = held.mixed(order) if len(held.corpora) else ("", None, [])
    return digest, len(held), texts, held.disputed, corpora, numbers


def _skipped(source: Source, faults: Sequence[str]) -> list[str]:
    count = f"{len(faults)} rows or recordings are" if len(faults) > 1 else "1 row or recording is"
    return [f"data: {count} skipped in {source.name}, the first: {faults[0]}"] if faults else []
