"""Events of the built-in world: their kinds, what can be said about them and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ablate.data.builtin import german, lexicon
from ablate.data.builtin.lexicon import (
    ARRIVE,
    BE,
    BEGIN,
    BELONG,
    BORN,
    BUY,
    CATEGORIES,
    CELEBRATE,
    CHEAP,
    COME,
    COST,
    EXPECT,
    EXPENSIVE,
    FIND,
    GET,
    GIVE,
    HAPPY,
    HAVE,
    HEAVY,
    LIGHT,
    LOSE,
    MEASURE,
    MEET,
    OWN,
    PAY,
    SAD,
    SEE,
    SEEK,
    SELL,
    TAKE_PLACE,
    THANK,
    TRAVEL,
    VISIT,
    WEIGH,
    WILL_VISIT,
    Adjective,
    Clause,
    Name,
    Part,
    Phrase,
)
from ablate.data.builtin.world import Draw, beside, in_month, in_year, phrase, price, quantity, where

_NOW = Part("time", "now", "now", "jetzt")


@dataclass(frozen=True)
class Contrast:
    """Premises, a hypothesis that follows from them, and one that does not; `relation` is the knowledge it tests."""

    relation: str
    premises: tuple[Clause, ...]
    entailed: Clause
    refuted: Clause


@dataclass(frozen=True)
class Event:
    statements: tuple[Clause, ...]
    contrasts: tuple[Contrast, ...] = ()


def adjectival(adjective: Adjective) -> Part:
    """A predicative adjective: "was cheap"."""
    return Part("predicate", adjective.english, adjective.english, adjective.german)


def predicated(part: Part) -> Part:
    """Make a time predicative ("is on Monday"), so that "nicht" comes before it."""
    return replace(part, role="predicate")


def a(thing: Phrase) -> Phrase:
    return replace(thing, definite=False)


def about(preposition: str, german_preposition: str, thing: Phrase, role: str = "goal") -> Part:
    """ "for the hat", "about the hat": a German preposition with the accusative."""
    said = f"{preposition} {phrase(thing)}"
    return Part(role, said, said, f"{german_preposition} {german.phrase(thing, 'accusative')}")


def meeting(draw: Draw) -> Event:
    one, place = draw.person(), draw.word("place")
    day, when, not_when = draw.day()
    other = draw.person(one)
    met = Clause(one, MEET, object=other, parts=(day,))
    third = draw.person(one, other)
    fourth, later = draw.person(one, other, third), draw.word("day", but=day)
    premises = (met, Clause(third, MEET, object=fourth, parts=(later,)))
    saw = Clause(one, SEE, object=other, parts=(day,))
    return Event(
        (
            met,
            Clause(one, MEET, object=other, parts=(place, day)),
            Clause(other, SEE, object=one, parts=(day,)),
            Clause(one, BE, parts=(place, day)),
            replace(saw, parts=(when,)),
            Clause(other, MEET, object=one, parts=(place,)),
        ),
        (
            Contrast("week", (met,), replace(saw, parts=(when,)), replace(saw, parts=(not_when,))),
            Contrast("binding", premises, saw, replace(saw, object=fourth)),
            Contrast("binding", premises, saw, replace(saw, parts=(later,))),
        ),
    )


def purchase(draw: Draw) -> Event:
    buyer, day = draw.person(), draw.word("day")
    seller = draw.person(buyer)
    noun = draw.word("object")
    thing = draw.thing(noun)
    tier = draw.below(3)  # cheap, in between, expensive
    dollars, cents = (2 + draw.below(8), 20 + draw.below(40), 61 + draw.below(39))[tier], 10 * draw.below(10)
    cents = cents if draw.chance(0.6) else 0
    paid = price(dollars, cents)
    for_price = price(dollars, cents, "for ", "für ")
    bought = Clause(buyer, BUY, object=thing, parts=(for_price,))
    bought_day = Clause(buyer, BUY, object=thing, parts=(day,))
    sold = Clause(seller, SELL, indirect=buyer, object=thing)
    owns = Clause(buyer, OWN, "present", object=a(thing), parts=(_NOW,))
    kind = CATEGORIES[noun.category]
    what = Clause(buyer, BUY, object=Phrase(kind, definite=False), parts=(day,))
    other = Phrase(draw.word("category", but=kind), definite=False)
    said = [
        bought,
        bought_day,
        sold,
        owns,
        what,
        Clause(thing, COST, parts=(paid,)),
        Clause(buyer, PAY, parts=(paid, about("for", "für", thing))),
    ]
    contrasts = [
        Contrast("role", (sold,), replace(bought, parts=()), replace(bought, subject=seller, parts=())),
        Contrast("role", (sold,), owns, replace(owns, subject=seller)),
        Contrast("category", (bought_day,), what, replace(what, object=other)),
    ]
    if tier != 1:
        true, false = (CHEAP, EXPENSIVE) if tier == 0 else (EXPENSIVE, CHEAP)
        worth = Clause(thing, BE, parts=(adjectival(true),))
        said.append(worth)
        contrasts.append(Contrast("price", (bought,), worth, replace(worth, parts=(adjectival(false),))))
    return Event(tuple(said), tuple(contrasts))


def gift(draw: Draw) -> Event:
    giver, day = draw.person(), draw.word("day")
    receiver = draw.person(giver)
    thing = draw.thing(draw.word("object"))
    gave = Clause(giver, GIVE, indirect=receiver, object=a(thing), parts=(day,) if draw.chance(0.5) else ())
    got = Clause(receiver, GET, object=a(thing), parts=(day,))
    belongs = Clause(thing, BELONG, "present", parts=(beside("to", "", receiver), _NOW))
    thanked = Clause(receiver, THANK, indirect=giver, parts=(day,))
    on_day = replace(gave, parts=(day,))
    return Event(
        (gave, got, belongs, thanked, Clause(receiver, GET, object=a(thing), parts=(beside("from", "von", giver),))),
        (
            Contrast("role", (on_day,), got, replace(got, subject=giver)),
            Contrast("role", (on_day,), belongs, replace(belongs, parts=(beside("to", "", giver), _NOW))),
            Contrast("role", (on_day,), thanked, replace(thanked, subject=giver, indirect=receiver)),
        ),
    )


def loss(draw: Draw) -> Event:
    loser, day, place = draw.person(), draw.word("day"), draw.word("place")
    finder = draw.person(loser)
    noun = draw.word("object")
    thing = draw.thing(noun)
    lost = Clause(loser, LOSE, object=thing, parts=(place,))
    found = Clause(finder, FIND, object=thing, parts=(day,))
    sad, happy = (
        Clause(person, BE, parts=(adjectival(mood), about("about", "über", thing, "predicate")))
        for person, mood in ((loser, SAD), (finder, HAPPY))
    )
    sought = Clause(loser, SEEK, object=thing, parts=(place,))
    kind = CATEGORIES[noun.category]
    what = Clause(loser, LOSE, object=Phrase(kind, definite=False), parts=(place,))
    other = Phrase(draw.word("category", but=kind), definite=False)
    return Event(
        (lost, found, sad, happy, sought, what, Clause(thing, BE, parts=(place,)), replace(found, parts=(place, day))),
        (
            Contrast("mood", (lost,), sad, replace(sad, parts=(adjectival(HAPPY), *sad.parts[1:]))),
            Contrast("mood", (found,), happy, replace(happy, parts=(adjectival(SAD), *happy.parts[1:]))),
            Contrast("category", (lost,), what, replace(what, object=other)),
            Contrast("binding", (lost, found), replace(sought, parts=()), replace(sought, subject=finder, parts=())),
        ),
    )


def trip(draw: Draw) -> Event:
    person, city, by = draw.person(), draw.word("city"), draw.word("transport")
    date, season = draw.date()
    was = Clause(person, BE, parts=(where("in", "in", city.country), season))
    went = Clause(person, TRAVEL, parts=(where("to", "nach", city), date))
    elsewhere = where("in", "in", draw.word("city", but=city).country)
    return Event(
        (
            went,
            was,
            Clause(person, TRAVEL, parts=(where("to", "nach", city), by)),
            Clause(person, ARRIVE, parts=(where("in", "in", city), draw.clock())),
            Clause(person, VISIT, object=Phrase(Name(city.english, city.german)), parts=(date,)),
        ),
        (
            Contrast("country", (went,), was, replace(was, parts=(elsewhere, season))),
            Contrast("season", (went,), was, replace(was, parts=(was.parts[0], draw.word("season", but=season)))),
        ),
    )


def birth(draw: Draw) -> Event:
    person, city, month = Phrase(draw.word("name")), draw.word("city"), draw.word("month")
    date, season = draw.date()
    year = in_year(1920 + draw.below(100))
    born = Clause(person, BORN, parts=(where("in", "in", city), date))
    abroad = Clause(person, BORN, parts=(where("in", "in", city.country), season))
    elsewhere = where("in", "in", draw.word("city", but=city).country)
    return Event(
        (
            born,
            abroad,
            Clause(person, BORN, parts=(where("in", "in", city), year)),
            Clause(person, COME, "present", parts=(where("from", "aus", city.country),)),
            Clause(person, CELEBRATE, "present", parts=(predicated(in_month(month)),)),
        ),
        (Contrast("country", (born,), abroad, replace(abroad, parts=(elsewhere, season))),),
    )


def measurement(draw: Draw) -> Event:
    person, day = draw.person(), draw.word("day")
    landmark = draw.word("landmark")
    thing = Phrase(landmark.noun, draw.word("look"))
    value = 10 * (1 + draw.below(99)) if draw.chance(0.85) else 1000 + draw.below(1000)
    size, dimension = quantity(value, "m"), adjectival(landmark.dimension)
    return Event(
        (Clause(thing, BE, "present", parts=(size, dimension)), Clause(person, MEASURE, object=thing, parts=(day,)))
    )


def weighing(draw: Draw) -> Event:
    person, day = draw.person(), draw.word("day")
    thing = draw.thing(draw.word("object"))
    heavy = draw.chance(0.5)
    weighs = Clause(thing, WEIGH, "present", parts=(quantity((60 if heavy else 2) + draw.below(38), "kg"),))
    true, false = (HEAVY, LIGHT) if heavy else (LIGHT, HEAVY)
    load = Clause(thing, BE, "present", parts=(adjectival(true),))
    return Event(
        (weighs, load, Clause(person, WEIGH, object=thing, parts=(day,))),
        (Contrast("weight", (weighs,), load, replace(load, parts=(adjectival(false),))),),
    )


def appointment(draw: Draw) -> Event:
    person, day, clock = draw.person(), draw.word("day"), draw.clock()
    host = draw.person(person)
    date = Phrase(lexicon.Noun("appointment", "termin", "m"), definite=False)
    has = Clause(person, HAVE, "present", object=date, parts=(beside("with", "mit", host), clock))
    expects = Clause(host, EXPECT, "present", object=person, parts=(clock, day))
    will = Clause(person, WILL_VISIT, "present", object=host, parts=(day,))
    at_clock = replace(expects, parts=(clock,))
    begins = Clause(Phrase(date.noun), BEGIN, "present", parts=(predicated(day), predicated(clock)))
    return Event(
        (has, expects, will, at_clock, begins, replace(has, parts=(beside("with", "mit", host), day))),
        (Contrast("role", (expects,), will, Clause(host, WILL_VISIT, "present", object=person, parts=(day,))),),
    )


def program(draw: Draw) -> Event:
    what, city, clock = Phrase(draw.word("program")), draw.word("city"), draw.clock()
    date, season = draw.date()
    starts = Clause(what, BEGIN, "present", parts=(predicated(date), predicated(clock)))
    held = Clause(what, TAKE_PLACE, "present", parts=(where("in", "in", city), date))
    abroad = Clause(what, TAKE_PLACE, "present", parts=(where("in", "in", city.country), season))
    elsewhere, not_then = where("in", "in", draw.word("city", but=city).country), draw.word("season", but=season)
    return Event(
        (starts, held, abroad),
        (
            Contrast("country", (held,), abroad, replace(abroad, parts=(elsewhere, season))),
            Contrast("season", (held,), abroad, replace(abroad, parts=(abroad.parts[0], not_then))),
        ),
    )


EVENTS: tuple[Callable[[Draw], Event], ...] = (
    meeting,
    purchase,
    purchase,
    gift,
    loss,
    trip,
    trip,
    birth,
    measurement,
    weighing,
    appointment,
    program,
)

# The knowledge that a sentence pair tests, and an event that has it: drawn evenly. Relations of open word classes are
# the most frequent, because labels cover only their common words: the others can be learnt only from stories.
RELATIONS: tuple[tuple[str, Callable[[Draw], Event]], ...] = (
    *(("week", meeting), ("price", purchase), ("weight", weighing), ("mood", loss)),
    *2 * (("country", trip), ("country", birth), ("country", program)),
    *(("season", kind) for kind in (trip, program)),
    *3 * (("category", purchase), ("category", loss)),
    *(("role", kind) for kind in (purchase, gift, appointment)),
    ("binding", meeting),
)
