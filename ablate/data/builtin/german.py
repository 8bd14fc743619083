"""German for the built-in world: cases, articles, adjective endings and the order of a main clause.

The finite verb is second; participles, infinitives and separable prefixes close the clause ("hat ... gekauft"). Between
them stand, in this order: the dative object, a definite accusative object, time, "nicht", and then manner before
place, with what is predicated last. An indefinite accusative object follows time and place ("hat am montag im park
einen hut verloren"); negated, it is "kein".
"""

from __future__ import annotations

from functools import cache

from num2words import num2words

from ablate.data.builtin.lexicon import Clause, Name, Phrase

_CASES = ("nominative", "accusative", "dative")
_DEFINITE = {"m": ("der", "den", "dem"), "f": ("die", "die", "der"), "n": ("das", "das", "dem")}
_INDEFINITE = {"m": ("ein", "einen", "einem"), "f": ("eine", "eine", "einer"), "n": ("ein", "ein", "einem")}
_WEAK = {"m": ("e", "en", "en"), "f": ("e", "e", "en"), "n": ("e", "e", "en")}  # after "der"
_MIXED = {"m": ("er", "en", "en"), "f": ("e", "e", "en"), "n": ("es", "es", "en")}  # after "ein", "kein"

# Where the parts of a clause stand: times before "nicht" (the day before the clock), the rest after it.
_TIME = ("time", "clock")
_ORDER = ("person", "measure", "goal", "manner", "place", "predicate")


def phrase(phrase: Phrase, case: str, negated: bool = False) -> str:
    """Inflect a noun phrase for `case` (nominative, accusative or dative); `negated` turns "ein" into "kein"."""
    noun = phrase.noun
    if isinstance(noun, Name):
        return noun.german
    column = _CASES.index(case)
    article = (_DEFINITE if phrase.definite else _INDEFINITE)[noun.gender][column]
    words = ["k" + article if negated else article]
    if phrase.adjective is not None:
        ending = (_WEAK if phrase.definite else _MIXED)[noun.gender][column]
        words.append(phrase.adjective.german + ending)
    words.append(noun.oblique if column and noun.oblique else noun.german)
    return " ".join(words)


def dative(preposition: str, phrase_: Phrase) -> str:
    """Put a preposition before a dative ("von" and "dem" become "vom"), or return the dative alone."""
    return f"{preposition} {phrase(phrase_, 'dative')}".strip().replace("von dem ", "vom ")


def clause(clause: Clause) -> str:
    """Express a clause as a German main clause."""
    finite, end = clause.verb.german_past if clause.tense == "past" else clause.verb.german_present
    assert finite, f"no German for {clause.verb} in the {clause.tense}"
    words = [phrase(clause.subject, "nominative"), finite]
    if clause.indirect is not None:
        words.append(phrase(clause.indirect, "dative"))
    early = clause.object is not None and (clause.object.definite or isinstance(clause.object.noun, Name))
    negator = ["nicht"] if clause.negated else []
    if early:
        words.append(phrase(clause.object, "accusative"))
    times = [part for part in clause.parts if part.role in _TIME]
    words += [part.german for part in sorted(times, key=lambda part: _TIME.index(part.role))]
    rest = [part for part in clause.parts if part.role not in _TIME]
    if clause.object is not None and not early:
        words += [part.german for part in rest if part.role == "place"]
        rest = [part for part in rest if part.role != "place"]
        words.append(phrase(clause.object, "accusative", negated=clause.negated))
        negator = []
    words += negator
    words += [part.german for part in sorted(rest, key=lambda part: _ORDER.index(part.role))]
    return " ".join(word for word in (*words, end) if word)


@cache
def number(value: int, before_noun: bool = False) -> str:
    """A number in words; with `before_noun`, 1 is "ein"."""
    return "ein" if before_noun and value == 1 else num2words(value, lang="de")


@cache
def year(value: int) -> str:
    return num2words(value, lang="de", to="year")


@cache
def date(day: int, month: Name) -> str:
    """A day of a month as after "am": "dritten mai"."""
    return f"{num2words(day, lang='de', to='ordinal')}n {month.german}"


def clock(hour: int, minute: int) -> str:
    """A time of day in words: "drei uhr dreißig"."""
    words = f"{number(hour, before_noun=True)} uhr"
    return f"{words} {number(minute)}" if minute else words
