"""The built-in world: a small place where effects of pre-training can be seen in minutes.

A grammar of some three hundred words describes meetings, purchases, gifts, trips, births, measures, appointments and
reviews. Each sentence has a written form ("Anna paid $5.20 for the hat."), a spoken form ("anna paid five dollars
twenty for the hat") and a German translation. For an event there are several statements that restate it or follow from
it, and *contrasts*: premises with one hypothesis that follows and one that does not.

It is not evidence about English: its language is regular, its speech is synthetic and clusters too easily, and a
model that masters it has learnt a few hundred words. It can show collapse, label efficiency, shortcuts, the use of
paired audio and interference against a placebo.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np
from num2words import num2words

from ablate.data.builtin import german, lexicon
from ablate.data.builtin.lexicon import BE, BORN, City, Clause, Name, Noun, Part, Phrase
from encoders import seeds

# Word classes that differ in how well labels cover them; days, months and numbers are always covered.
OPEN = {
    "name": lexicon.NAMES,
    "role": lexicon.ROLES,
    "object": lexicon.OBJECTS,
    "color": lexicon.COLORS,
    "look": lexicon.LOOKS,
    "city": lexicon.CITIES,
    "place": lexicon.PLACES,
    "program": lexicon.PROGRAMS,
    "landmark": lexicon.LANDMARKS,
    "creation": lexicon.CREATIONS,
    "good": lexicon.GOOD,
    "bad": lexicon.BAD,
}
CLOSED = {
    "day": lexicon.DAYS,
    "month": lexicon.MONTHS,
    "season": lexicon.SEASONS,
    "transport": lexicon.TRANSPORT,
    "category": tuple(lexicon.CATEGORIES.values()),
}


@dataclass(frozen=True)
class Sentence:
    """A clause in words; `german` is computed only on request."""

    clause: Clause
    written: str
    spoken: str

    @property
    def german(self) -> str:
        return german.clause(self.clause)

    @property
    def length(self) -> int:
        """Spoken words."""
        return self.spoken.count(" ") + 1


def phrase(phrase: Phrase) -> str:
    """A noun phrase in English."""
    noun = phrase.noun
    if isinstance(noun, Name):
        return noun.english
    words = [noun.english] if phrase.adjective is None else [phrase.adjective.english, noun.english]
    if phrase.definite:
        return " ".join(("the", *words))
    vowel = words[0][0] in "aeiou"
    return " ".join(("an" if vowel else "a", *words))


def _predicate(clause: Clause) -> str:
    verb = clause.verb
    if clause.tense == "past":
        if not clause.negated:
            return verb.past
        return verb.past.replace("was", "was not") if verb in (BE, BORN) else f"did not {verb.base}"
    if not clause.negated:
        return verb.third
    return "is not" if verb is BE else f"does not {verb.base}"


def english(clause: Clause) -> Sentence:
    """Express a clause in English, written and spoken."""
    start = [phrase(clause.subject), _predicate(clause)]
    start += [phrase(one) for one in (clause.indirect, clause.object) if one is not None]
    written = " ".join((*start, *(part.written for part in clause.parts)))
    spoken = " ".join((*(word.lower() for word in start), *(part.spoken for part in clause.parts)))
    return Sentence(clause, written[0].upper() + written[1:] + ".", spoken.lower())


@cache
def number(value: int, to: str = "cardinal") -> str:
    """A number in words without hyphens, commas or "and"."""
    words = num2words(value, to=to).replace("-", " ").replace(",", "")
    return words.replace(" and ", " ")


def date(day: int, month: Name) -> Part:
    said = f"on {month.english.lower()} {number(day, 'ordinal')}"
    return Part("time", f"on {month.english} {day}", said, f"am {german.date(day, month)}")


def in_month(month: Name) -> Part:
    return Part("time", f"in {month.english}", f"in {month.english.lower()}", f"im {month.german}")


def in_year(year: int) -> Part:
    return Part("time", f"in {year}", f"in {number(year, 'year')}", f"im jahr {german.year(year)}")


def clock(hour: int, minute: int, role: str = "clock") -> Part:
    minutes = "o'clock" if minute == 0 else f"oh {number(minute)}" if minute < 10 else number(minute)
    said = f"{number(hour)} {minutes}"
    return Part(role, f"at {hour}:{minute:02}", f"at {said}", f"um {german.clock(hour, minute)}")


def price(dollars: int, cents: int, before: str = "", german_before: str = "") -> Part:
    """An amount of at least two dollars; `before` is a preposition with its space."""
    written = f"{before}${dollars}.{cents:02}" if cents else f"{before}${dollars}"
    spoken = f"{before}{number(dollars)} dollars" + (f" {number(cents)}" if cents else "")
    said = f"{german_before}{german.number(dollars)} dollar" + (f" {german.number(cents)}" if cents else "")
    return Part("measure", written, spoken, said)


def quantity(value: int, unit: str) -> Part:
    """A quantity in "m" or "kg"."""
    english_unit, german_unit = {"m": ("meters", "meter"), "kg": ("kilos", "kilo")}[unit]
    return Part(
        "predicate", f"{value} {unit}", f"{number(value)} {english_unit}", f"{german.number(value)} {german_unit}"
    )


def where(preposition: str, german_preposition: str, place: City | Name) -> Part:
    """ "to Paris", "in France", "from Italy"."""
    english_, german_ = place.english, place.german
    return Part(
        "place", f"{preposition} {english_}", f"{preposition} {english_.lower()}", f"{german_preposition} {german_}"
    )


def beside(preposition: str, german_preposition: str, person: Phrase) -> Part:
    """ "with the doctor", "from Anna": a German preposition with the dative, or the dative alone ("to Anna")."""
    said = f"{preposition} {phrase(person)}"
    return Part("person", said, said.lower(), german.dative(german_preposition, person))


class World:
    """Which words are common (labels use only these) and how often the others are drawn.

    `coverage` is the share of each open word class that is common; any other word is drawn with weight `rare` against
    1 for a common one.
    """

    def __init__(self, seed: int, coverage: float = 0.6, rare: float = 0.35) -> None:
        self._words: dict[tuple[str, bool], tuple[Sequence[Any], list[float]]] = {}
        self.common: dict[str, tuple[Any, ...]] = {}
        for name, words in OPEN.items():
            order = seeds.rng(seeds.key(seed, f"world/common/{name}")).permutation(len(words))
            kept = set(order[: max(2, round(coverage * len(words)))].tolist())
            self.common[name] = tuple(word for i, word in enumerate(words) if i in kept)
            weights = [1.0 if i in kept else rare for i in range(len(words))]
            self._words[name, False] = words, list(accumulate(weights))
            self._words[name, True] = self.common[name], list(accumulate([1.0] * len(kept)))
        for name, words in CLOSED.items():
            self._words[name, False] = self._words[name, True] = words, list(accumulate([1.0] * len(words)))

    def draw(self, rng: np.random.Generator, common: bool = False) -> Draw:
        """Draw from all words, or from the `common` ones only."""
        return Draw(self._words, rng, common)


class Draw:
    """Draw words and phrases."""

    def __init__(self, words: dict, rng: np.random.Generator, common: bool) -> None:
        self._words, self._rng, self._common = words, rng, common

    def chance(self, probability: float) -> bool:
        return self._rng.random() < probability

    def below(self, n: int) -> int:
        """Draw an integer from 0 to n - 1."""
        return int(self._rng.random() * n)

    def of(self, options: Sequence[Any]) -> Any:
        """Draw one of `options`."""
        return options[self.below(len(options))]

    def word(self, kind: str, but: Any = None) -> Any:
        """Draw a word of a class, not equal to `but`."""
        words, totals = self._words[kind, self._common]
        while True:
            word = words[bisect(totals, self._rng.random() * totals[-1])]
            if word != but:
                return word

    def person(self, *but: Phrase) -> Phrase:
        """Draw a name or "the" with a role, different from all in `but`."""
        while True:
            person = Phrase(self.word("name") if self.chance(0.6) else self.word("role"))
            if person not in but:
                return person

    def thing(self, noun: Noun) -> Phrase:
        """Describe a noun with a color or look."""
        return Phrase(noun, self.word("color" if self.chance(0.5) else "look"))

    def date(self) -> tuple[Part, Part]:
        """Draw a date, and the season it lies in."""
        month = self.below(12)
        return date(1 + self.below(28), lexicon.MONTHS[month]), lexicon.SEASONS[(month + 1) % 12 // 3]

    def day(self) -> tuple[Part, Part, Part]:
        """Draw a day, the part of the week it is in, and the other part; both parts are equally frequent."""
        weekend = self.chance(0.5)
        day = self.of(lexicon.DAYS[5:] if weekend else lexicon.DAYS[:5])
        return day, *((lexicon.WEEKEND, lexicon.WEEK) if weekend else (lexicon.WEEK, lexicon.WEEKEND))

    def clock(self, role: str = "clock") -> Part:
        return clock(1 + self.below(12), self.of((0, 5, 10, 15, 20, 30, 40, 45, 50)), role)
