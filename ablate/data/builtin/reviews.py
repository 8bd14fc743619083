"""Reviews in the built-in world: opinions expressed plainly, by negation, and by contrast.

Each word of praise or blame occurs with both labels, so that counting words beats guessing, but not by much.
"""

from __future__ import annotations

from ablate.data.builtin import german
from ablate.data.builtin.events import Event, adjectival
from ablate.data.builtin.lexicon import BE, HATE, JUDGE, LIKE, LOVE, Adjective, Clause, Name, Part, Phrase, Verb
from ablate.data.builtin.world import Draw, phrase

KINDS = ("plain", "plain", "negation", "contrast")  # drawn evenly for labelled reviews

_IT = Phrase(Name("it", "es"))
_NOBODY = Phrase(Name("nobody", "niemand"))
_DEGREES = (("very", "sehr"), ("really", "wirklich"), ("so", "so"), ("quite", "ziemlich"))


def said(english: str, german_: str) -> Part:
    return Part("predicate", english, english, german_)


def praise(draw: Draw, word: Adjective) -> Part:
    """Predicate an adjective, mostly with a degree: "very good"."""
    if draw.chance(0.4):
        return adjectival(word)
    english, german_ = draw.of(_DEGREES)
    return said(f"{english} {word.english}", f"{german_} {word.german}")


def work(draw: Draw) -> Phrase:
    """Draw something that can be reviewed."""
    return Phrase(draw.word("creation"), draw.word("look") if draw.chance(0.5) else None)


def review(draw: Draw, work: Phrase, good: bool, kind: str) -> tuple[Clause, ...]:
    """Express in several ways of one `kind` (plain, negation, contrast) somebody's opinion of `work`.

    In a contrast the second half decides ("boring but beautiful" is good).
    """
    person = draw.person()
    same, other = draw.word("good" if good else "bad"), draw.word("bad" if good else "good")
    if kind == "contrast":
        return _contrast(work, other, same)
    if kind == "negation":
        return _negation(draw, work, person, other, liked=HATE if good else LIKE)
    of_kind = Phrase(work.noun, same, definite=False)
    return (
        Clause(work, BE, parts=(praise(draw, same),)),
        Clause(person, JUDGE, object=work, parts=(praise(draw, same),)),
        Clause(_IT, BE, parts=(said(phrase(of_kind), german.phrase(of_kind, "nominative")),)),
        Clause(person, draw.of((LIKE, LOVE)) if good else HATE, object=work),
    )


def _contrast(work: Phrase, first: Adjective, last: Adjective) -> tuple[Clause, ...]:
    english, german_ = (first.english, last.english), (first.german, last.german)
    forms = (
        ("{} but {}", "{} aber {}"),
        ("not {} but {}", "nicht {} sondern {}"),
        ("{} at first but later {}", "zuerst {} aber später {}"),
    )
    return tuple(Clause(work, BE, parts=(said(en.format(*english), de.format(*german_)),)) for en, de in forms)


def _negation(draw: Draw, work: Phrase, person: Phrase, word: Adjective, liked: Verb) -> tuple[Clause, ...]:
    english, german_ = draw.of(_DEGREES[:2])
    of_kind = Phrase(work.noun, word, definite=False)
    not_a = said(f"not {phrase(of_kind)}", german.phrase(of_kind, "nominative", negated=True))
    return (
        Clause(work, BE, negated=True, parts=(adjectival(word),)),
        Clause(work, BE, negated=True, parts=(said(f"{english} {word.english}", f"{german_} {word.german}"),)),
        Clause(work, BE, parts=(said(f"never {word.english}", f"nie {word.german}"),)),
        Clause(person, JUDGE, negated=True, object=work, parts=(adjectival(word),)),
        Clause(person, liked, negated=True, object=work),
        Clause(_NOBODY, liked, object=work),
        Clause(_IT, BE, parts=(not_a,)),
    )


def opinion(draw: Draw) -> Event:
    """Review one work plainly, and sometimes also by negations with the same opinion."""
    good, reviewed = draw.chance(0.5), work(draw)
    clauses = review(draw, reviewed, good, "plain")
    return Event(clauses + review(draw, reviewed, good, "negation") if draw.chance(0.4) else clauses)
