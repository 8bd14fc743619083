"""Samples of the built-in world: rows drawn one after another, and how they are said if they are spoken.

A sentence belongs to train, dev or test by a hash of the world's seed and its spoken form, and a row of a sample has
only sentences of the sample's kind. So a sample is drawn independently of all others, and asking for more rows changes
neither its earlier rows nor any other sample. Voices are divided permanently into those that labelled speech may use
and those that dev and test may use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ablate.data.builtin import items
from ablate.data.builtin.espeak import UNSEEN_VOICES, VOICES, Utterance
from ablate.data.builtin.items import Item, Mine
from ablate.data.builtin.world import Draw, World
from ablate.errors import UserError
from encoders import seeds

SHARES = {"train": 0.6, "dev": 0.2, "test": 0.2}  # of all sentences; changing them changes every row
LABEL_VOICES = ("m3", "f4", "m6", "aunty", "Michael", "shelby", "Mike", "boris", "norbert", "rob", "Lee", "zac")
TEST_VOICES = tuple(voice for voice in VOICES if voice not in LABEL_VOICES)

_PATIENCE = 20_000  # draws without a new row after which the sample counts as too large


def kind(seed: int, sentence: str) -> str:
    """The kind of split that a sentence belongs to: "train", "dev" or "test"."""
    place = seeds.key(seed, f"split/{sentence}") / 2**63
    return "train" if place < SHARES["train"] else "dev" if place < SHARES["train"] + SHARES["dev"] else "test"


@dataclass(frozen=True)
class Entry:
    """A row before it is written: its sentences, and how it is spoken if it is."""

    sample: str
    row: dict[str, Any]
    sentences: tuple[str, ...]
    said: Utterance | None = None
    shared: dict[str, str] = field(default_factory=dict)
    """What its item has in common with others."""
    places: tuple[tuple[str, str], ...] = ()
    """The (table, split) pairs that it is in: spoken tasks share utterances. Only set for an audit of several
    tables.
    """

    def row_of(self, table: str) -> dict[str, Any]:
        """The row as in `table`: a shared utterance has its translation only where the table needs it."""
        return {name: value for name, value in self.row.items() if name != "translation" or table == "translation"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows of one kind, and all settings that they depend on; a setting without influence is None."""

    tag: ClassVar[str] = "builtin_sample"

    name: str
    """Such as "text.train"; samples that several tables share are "dev", "test" and "test_unseen"."""
    rows: int
    seed: int
    coverage: float | None = None
    """Share of each open word class that is common; None: all words."""
    rare: float | None = None
    """Relative frequency of the other words, against 1 for a common one; None: they are not drawn."""
    voices: int | None = None
    """Number of voices with the role of this sample; None if it is not spoken."""
    rate_low: int | None = None
    rate_high: int | None = None
    pitch_low: int | None = None
    pitch_high: int | None = None
    snr_low: float | None = None
    snr_high: float | None = None

    @property
    def kind(self) -> str:
        """The kind of its sentences: "train", "dev" or "test"."""
        return self.name.split(".")[-1].removesuffix("_unseen")

    def spoken_by(self) -> tuple[str, ...]:
        """Its voices; none if it is not spoken."""
        table = self.name.split(".")[0]
        role = {
            "test_unseen": UNSEEN_VOICES,
            "dev": TEST_VOICES,
            "test": TEST_VOICES,
            "speech": VOICES,
            "pairs": VOICES,
        }
        return role.get(table, LABEL_VOICES)[: self.voices or 0]

    def entries(self) -> Iterator[Entry]:
        """Draw the rows, all different; nothing is synthesised. Raises UserError if there are not enough."""
        table = self.name.split(".")[0]
        prefix = "pair" if table == "pairs" else self.kind  # asr.train may contain pairs beside its own rows
        for number, item in enumerate(self._items()):
            row = {"id": f"{prefix}-{number:05}", **item.row}
            if self.voices is None:
                yield Entry(self.name, row, item.sentences, shared=item.shared)
            else:
                said = self._said(number, row["text"])
                row |= {"voice": said.voice, "snr": round(said.snr, 1)}
                yield Entry(self.name, row, item.sentences, said, item.shared)

    def _items(self) -> Iterator[Item]:
        make = _MAKE[self.name.split(".")[0]]
        name = self.name.removesuffix("_unseen")  # unseen voices say the same as known ones
        rare, coverage = 1.0 if self.rare is None else self.rare, 1.0 if self.coverage is None else self.coverage
        world = World(self.seed, coverage, rare)
        draw = world.draw(seeds.rng(seeds.key(self.seed, f"world/{name}")), common=self.rare is None)
        seen: set[tuple] = set()
        for number in range(self.rows):
            for _ in range(_PATIENCE):
                item = make(draw, self._mine, number)
                content = tuple(value for name, value in item.row.items() if name not in ("label", "translation"))
                if content not in seen:
                    break
            else:
                raise UserError(f"The built-in world has no more than {number} rows for {self.name}; ask for fewer.")
            seen.add(content)
            yield item

    def _mine(self, sentence: str) -> bool:
        return kind(self.seed, sentence) == self.kind

    def _said(self, number: int, text: str) -> Utterance:
        rng, voices = seeds.rng(seeds.key(self.seed, f"speak/{self.name}", number)), self.spoken_by()
        return Utterance(
            text=text,
            voice=voices[rng.integers(len(voices))],
            rate=int(rng.integers(self.rate_low, self.rate_high + 1)),
            pitch=int(rng.integers(self.pitch_low, self.pitch_high + 1)),
            snr=float(rng.uniform(self.snr_low, self.snr_high)),
            key=seeds.key(self.seed, f"noise/{self.name}", number),
        )


def _numberless(make: Callable[[Draw, Mine], Item]) -> Callable[[Draw, Mine, int], Item]:
    return lambda draw, mine, number: make(draw, mine)


_MAKE: dict[str, Callable[[Draw, Mine, int], Item]] = {
    **dict.fromkeys(("asr", "speech"), _numberless(items.transcript)),
    **dict.fromkeys(("translation", "dev", "test", "test_unseen"), _numberless(items.translation)),
    "pairs": _numberless(items.fact),
    "text": _numberless(items.story),
    "sentiment": lambda draw, mine, number: items.sentiment(draw, mine, good=number % 2 == 0),
    "sentence_pair": lambda draw, mine, number: items.sentence_pair(draw, mine, entailed=number % 2 == 0),
    "normalization": _numberless(items.normalization),
}
