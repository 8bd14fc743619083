"""The built-in corpus: the tables of the small world, spoken by eSpeak NG (see `ablate.data.world` for what it is).

Rules that its numbers rest on:

- No sentence of a test split is in any dev or train split, and none of a dev split in any train split, over all
  tables, stories and hypotheses included. `asr.test_unseen` says the sentences of `asr.test` with voices heard nowhere
  else, so that the two differ by voice alone; the test splits of asr, translation and retrieval share utterances, and
  so do their dev splits.
- Voices: unlabelled speech and pairs have all `speech_voices`; labels have the first `label_voices` of them, dev and
  test the `test_voices` that come next: a labelled voice is never tested. What unlabelled speech can offer here is
  invariance to the speaker.
- Labels of asr, sentiment and sentence_pair use the common words only (`coverage` of each word class); everything else
  uses all words. Evaluation draws from all words, so part of it is known from unlabelled data alone.
- Transcripts are labels: a row that trains on pairs has seen their transcripts, `asr.train` has not. With
  `asr_pairs` the fine-tuning labels contain the pairs, which is the fair comparison for alignment losses.
- A smaller label budget is the beginning of a larger one.

`python -m ablate.data.builtin --audit [--no-hours] [field=value ...]` prints what a corpus would hold.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ablate.data import audit, espeak, items
from ablate.data.espeak import UNSEEN_VOICES, VOICES, Utterance
from ablate.data.items import Item
from ablate.data.table import CorpusConfig, TableWriter, write_corpus
from ablate.data.world import Draw, World
from ablate.errors import UserError, nearest
from encoders import seeds

_PATIENCE = 20_000  # draws without a new sentence after which a table is taken to be too large


@dataclass(frozen=True)
class Entry:
    """A row in the making: where it goes, what its sentences are, and how it is spoken if it is."""

    row: dict[str, Any]
    sentences: tuple[str, ...]
    places: tuple[tuple[str, str], ...]  # (table, split): several if they share the utterance
    said: Utterance | None = None

    def row_of(self, table: str) -> dict[str, Any]:
        """The row as `table` holds it: shared utterances have a translation only where it is asked for."""
        return {name: value for name, value in self.row.items() if name != "translation" or table == "translation"}


@dataclass(frozen=True, kw_only=True)
class BuiltinConfig(CorpusConfig):
    """The built-in corpus. Counts are rows; those of train splits are budgets."""

    recipe: ClassVar[int] = 2

    seed: int = 0
    """Seed of the world: its common words, its sentences, how they are spoken."""
    coverage: float = 0.6
    """Share of each class of words that labelled sentences use."""
    rare: float = 0.35
    """How often another word is drawn, against 1 for a common one; in tests of sentence_pair they are drawn alike."""
    speech: int = 2400
    """Unlabelled utterances."""
    text: int = 12000
    """Unlabelled stories of two or three sentences."""
    pairs: int = 900
    """Utterances with their transcripts, for pre-training."""
    asr: int = 300
    """Labelled utterances for recognition."""
    asr_pairs: bool = False
    """Whether asr.train holds the pairs too."""
    translation: int = 900
    """Utterances with German translations."""
    sentiment: int = 300
    """Labelled reviews."""
    sentence_pair: int = 3000
    """Labelled pairs of sentences."""
    normalization: int = 500
    """Written sentences with their spoken forms."""
    dev: int = 100
    """Rows of each spoken dev split."""
    test: int = 200
    """Rows of asr.test, asr.test_unseen and translation.test."""
    retrieval: int = 300
    """Rows of retrieval.test; the first ones are those of asr.test."""
    text_dev: int = 200
    """Rows of each dev split without speech."""
    text_test: int = 1000
    """Rows of each test split without speech."""
    speech_voices: int = 24
    """Voices of unlabelled speech and of pairs."""
    label_voices: int = 2
    """Voices of labelled speech."""
    test_voices: int = 8
    """Voices of dev and test: known from unlabelled speech and pairs, never labelled."""
    unseen_voices: int = 6
    """Voices of asr.test_unseen."""
    rate_low: int = 200
    """Slowest speech, in words a minute."""
    rate_high: int = 240
    """Fastest speech, in words a minute."""
    pitch_low: int = 40
    """Lowest pitch, of 0 to 99."""
    pitch_high: int = 60
    """Highest pitch, of 0 to 99."""
    snr_low: float = 25.0
    """Loudest noise, in dB below the speech."""
    snr_high: float = 40.0
    """Softest noise, in dB below the speech."""

    def resolved(self) -> BuiltinConfig:
        """Check the settings and that eSpeak NG is there, and return this config. Raises UserError."""
        for name, low, high in (
            ("speech_voices", 2, len(VOICES)),
            ("unseen_voices", 1, len(UNSEEN_VOICES)),
            ("label_voices", 1, self.speech_voices - 1),
            ("test_voices", 1, self.speech_voices - self.label_voices),
            ("coverage", 0.2, 1),
            ("rate_low", 80, self.rate_high),
            ("rate_high", self.rate_low, 450),
            ("pitch_low", 0, self.pitch_high),
            ("pitch_high", self.pitch_low, 99),
            ("snr_low", -20, self.snr_high),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"data.{name} is {getattr(self, name)}, expected {low} to {high}; change it.")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, int) and field.name not in ("asr_pairs", "seed", "pitch_low") and value < 1:
                raise UserError(f"data.{field.name} is {value}, expected at least 1; change it.")
        if not 0 < self.rare <= 1:
            raise UserError(f"data.rare is {self.rare}, expected more than 0 and at most 1; change it.")
        espeak.require()
        return self

    def tables(self) -> dict[str, tuple[str, ...]]:
        return items.TABLES

    def prepare(self, run: Any) -> dict[str, Any]:
        """Write the tables into `run`, starting over if there is something already."""
        self.resolved()
        shutil.rmtree(Path(run.files) / "tables", ignore_errors=True)
        entries = self.entries()
        spoken = [entry for entry in entries if entry.said is not None]
        processes = getattr(run, "workers", None) or len(os.sched_getaffinity(0))
        heard = espeak.speak([entry.said for entry in spoken], processes, run.check)
        done = 0
        run.progress(done, len(spoken), unit="utterances")
        with ExitStack() as open_tables:
            writers: dict[tuple[str, str], TableWriter] = {}
            for entry in entries:
                mel, phones = (None, None) if entry.said is None else next(heard)
                for place in entry.places:
                    if place not in writers:
                        writers[place] = open_tables.enter_context(TableWriter(run.files, *place))
                    row = entry.row_of(place[0])
                    writers[place].add(row if phones is None else row | {"phones": phones}, mel)
                if mel is not None:
                    done += 1
                    run.progress(done, len(spoken), unit="utterances")
        return write_corpus(run, audit.audit(entries))

    def entries(self) -> list[Entry]:
        """Draw every row of every table; nothing is spoken yet."""
        world, even = (World(self.seed, self.coverage, rare) for rare in (self.rare, 1.0))
        held: dict[str, str] = {}  # sentence: the kind of split that has it
        entries: list[Entry] = []
        for kind in ("test", "dev", "train"):
            for place, count, make, common in self._tables(kind):
                drawn = even if place[0] == "sentence_pair" else world
                entries += self._draw(drawn, held, place, count, make, common)
        if self.asr_pairs:
            shared = {("pairs", "train"): (("pairs", "train"), ("asr", "train"))}
            entries = [dataclasses.replace(e, places=shared.get(e.places[0], e.places)) for e in entries]
        return entries

    def _tables(self, kind: str) -> Iterator[tuple[tuple[str, str], int, Callable[[Draw, int], Item], bool]]:
        """Tables of one kind of split: place, rows, how a row is made from its number, whether of common words only."""
        train = kind == "train"
        pick = {"train": 0, "dev": 1, "test": 2}[kind]
        if kind == "test":
            yield ("asr", "test"), max(self.test, self.retrieval), _numberless(items.translation), False
        elif kind == "dev":
            yield ("asr", "dev"), self.dev, _numberless(items.translation), False
        else:
            yield ("asr", "train"), self.asr, _numberless(items.transcript), True
            yield ("translation", "train"), self.translation, _numberless(items.translation), False
        if kind != "test":
            yield ("speech", kind), (self.speech, self.dev)[pick], _numberless(items.transcript), False
            yield ("pairs", kind), (self.pairs, self.dev)[pick], _numberless(items.fact), False
            yield ("text", kind), (self.text, self.text_dev)[pick], _numberless(items.story), False
        for table, budget, make in (
            ("sentiment", self.sentiment, lambda draw, i: items.sentiment(draw, good=i % 2 == 0)),
            ("sentence_pair", self.sentence_pair, lambda draw, i: items.sentence_pair(draw, entailed=i % 2 == 0)),
            ("normalization", self.normalization, _numberless(items.normalization)),
        ):
            yield (table, kind), (budget, self.text_dev, self.text_test)[pick], make, train and table != "normalization"

    def _draw(
        self, world: World, held: dict[str, str], place: tuple[str, str], count: int,
        make: Callable[[Draw, int], Item], common: bool,
    ) -> Iterator[Entry]:  # fmt: skip
        """Draw `count` different items whose sentences no other kind of split has; UserError if there are none."""
        table, kind = place
        draw = world.draw(seeds.rng(seeds.key(self.seed, f"world/{table}.{kind}")), common)
        seen: set[tuple] = set()
        for number in range(count):
            for _ in range(_PATIENCE):
                item = make(draw, number)
                content = tuple(value for name, value in item.row.items() if name not in ("label", "translation"))
                if content not in seen and all(held.get(said, kind) == kind for said in item.sentences):
                    break
            else:
                raise UserError(f"The built-in world has no more than {number} rows for {table}.{kind}; ask for fewer.")
            seen.add(content)
            held.update(dict.fromkeys(item.sentences, kind))
            yield from self._placed(place, number, item)

    def _placed(self, place: tuple[str, str], number: int, item: Item) -> Iterator[Entry]:
        """Say where an item goes, and by whom it is spoken if its table is."""
        table, kind = place
        name = f"{kind}-{number:05}"
        if table not in ("asr", "translation", "speech", "pairs"):
            yield Entry({"id": name, **item.row}, item.sentences, (place,))
            return
        places: tuple[tuple[str, str], ...] = (place,)
        if table == "asr" and kind != "train":  # the tables of spoken tasks share utterances
            within = kind == "dev" or number < self.test
            places = (("asr", kind), ("translation", kind)) if within else ()
            if kind == "dev" or number < self.retrieval:
                places += (("retrieval", kind),)
        voices = VOICES[: self.speech_voices]
        if table not in ("speech", "pairs"):
            labelled = self.label_voices
            voices = voices[:labelled] if kind == "train" else voices[labelled : labelled + self.test_voices]
        yield self._spoken(f"{table}.{kind}", number, name, item, places, voices)
        if place == ("asr", "test") and number < self.test:
            unseen = UNSEEN_VOICES[: self.unseen_voices]
            yield self._spoken("asr.test_unseen", number, name, item, (("asr", "test_unseen"),), unseen)

    def _spoken(
        self, stream: str, number: int, name: str, item: Item, places: tuple[tuple[str, str], ...],
        voices: tuple[str, ...],
    ) -> Entry:  # fmt: skip
        rng = seeds.rng(seeds.key(self.seed, f"speak/{stream}", number))
        said = Utterance(
            text=item.row["text"],
            voice=voices[rng.integers(len(voices))],
            rate=int(rng.integers(self.rate_low, self.rate_high + 1)),
            pitch=int(rng.integers(self.pitch_low, self.pitch_high + 1)),
            snr=float(rng.uniform(self.snr_low, self.snr_high)),
            key=seeds.key(self.seed, f"noise/{stream}", number),
        )
        row = {"id": name, **item.row, "voice": said.voice, "snr": round(said.snr, 1)}
        return Entry(row, item.sentences, places, said)


def _numberless(make: Callable[[Draw], Item]) -> Callable[[Draw, int], Item]:
    return lambda draw, number: make(draw)


def main(arguments: list[str]) -> int:
    """Print the audit of a corpus with the given settings."""
    if "--audit" not in arguments:
        print("usage: python -m ablate.data.builtin --audit [--no-hours] [field=value ...]\n\n"
              "Print what a built-in corpus with these settings holds. Hours and the baselines of retrieval\n"
              "need it to be spoken, which takes most of the time; --no-hours leaves them out.")  # fmt: skip
        return 2
    fields = {field.name: type(field.default) for field in dataclasses.fields(BuiltinConfig)}
    settings: dict[str, Any] = {}
    try:
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if argument in ("--audit", "--no-hours"):
                continue
            if not equals or name not in fields:
                raise UserError(f"'{name}' is no setting of the built-in corpus; {nearest(name, fields)}")
            try:
                settings[name] = value.lower() == "true" if fields[name] is bool else fields[name](value)
            except ValueError:
                raise UserError(f"{name}={value}: expected {fields[name].__name__}.") from None
        entries = BuiltinConfig(**settings).resolved().entries()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    lengths = None if "--no-hours" in arguments else audit.seconds(entries)
    print(audit.text(audit.audit(entries, lengths), audit.sizes(entries, lengths)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
