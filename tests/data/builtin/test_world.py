"""The small world: its sentences in English and German, by hand and by rule."""

from dataclasses import replace

import pytest

from ablate.data.builtin import events, german, lexicon, reviews, world
from ablate.data.builtin.lexicon import Adjective, Clause, Name, Phrase
from encoders import seeds

# By hand -------------------------------------------------------------------------------------------------------------


def noun(english, among=(*lexicon.ROLES, *lexicon.OBJECTS, *lexicon.PROGRAMS, *lexicon.CREATIONS)):
    (word,) = {n for n in among if n.english == english}
    return word


def the(english, adjective=None):
    words = (*lexicon.COLORS, *lexicon.LOOKS, *lexicon.GOOD, *lexicon.BAD)
    return Phrase(noun(english), next((w for w in words if w.english == adjective), None))


def a(english, adjective=None):
    return replace(the(english, adjective), definite=False)


def name(english):
    return Phrase(next(n for n in lexicon.NAMES if n.english == english))


def city(english):
    return next(c for c in lexicon.CITIES if c.english == english)


def place(english):
    return next(p for p in lexicon.PLACES if p.written == english)


ANNA, PAUL = name("Anna"), name("Paul")
MONDAY, FRIDAY = lexicon.DAYS[0], lexicon.DAYS[4]
MAY = lexicon.MONTHS[4]

TRIPLETS = [
    (
        Clause(the("hat", "red"), lexicon.COST, parts=(world.price(5, 20), world.date(3, MAY))),
        "The red hat cost $5.20 on May 3.",
        "the red hat cost five dollars twenty on may third",
        "der rote hut hat am dritten mai fünf dollar zwanzig gekostet",
    ),
    (
        Clause(PAUL, lexicon.BUY, object=the("shirt", "blue"), parts=(world.price(21, 0, "for ", "für "),)),
        "Paul bought the blue shirt for $21.",
        "paul bought the blue shirt for twenty one dollars",
        "paul hat das blaue hemd für einundzwanzig dollar gekauft",
    ),
    (
        Clause(PAUL, lexicon.BUY, negated=True, object=the("guitar", "old"), parts=(MONDAY,)),
        "Paul did not buy the old guitar on Monday.",
        "paul did not buy the old guitar on monday",
        "paul hat die alte gitarre am montag nicht gekauft",
    ),
    (
        Clause(PAUL, lexicon.BUY, negated=True, object=a("guitar", "old"), parts=(MONDAY,)),
        "Paul did not buy an old guitar on Monday.",
        "paul did not buy an old guitar on monday",
        "paul hat am montag keine alte gitarre gekauft",
    ),
    (
        Clause(ANNA, lexicon.MEET, object=the("student"), parts=(place("in the park"), FRIDAY)),
        "Anna met the student in the park on Friday.",
        "anna met the student in the park on friday",
        "anna hat den studenten am freitag im park getroffen",
    ),
    (
        Clause(the("neighbor"), lexicon.GIVE, indirect=the("nurse"), object=a("dog", "small")),
        "The neighbor gave the nurse a small dog.",
        "the neighbor gave the nurse a small dog",
        "der nachbar hat der krankenschwester einen kleinen hund gegeben",
    ),
    (
        Clause(the("child"), lexicon.THANK, indirect=the("farmer"), parts=(MONDAY,)),
        "The child thanked the farmer on Monday.",
        "the child thanked the farmer on monday",
        "das kind hat dem bauern am montag gedankt",
    ),
    (
        Clause(
            ANNA, lexicon.TRAVEL, negated=True, parts=(world.where("to", "nach", city("Rome")), world.date(21, MAY))
        ),
        "Anna did not travel to Rome on May 21.",
        "anna did not travel to rome on may twenty first",
        "anna ist am einundzwanzigsten mai nicht nach rom gereist",
    ),
    (
        Clause(the("aunt"), lexicon.TRAVEL, parts=(world.where("to", "nach", city("Vienna")), lexicon.TRANSPORT[0])),
        "The aunt traveled to Vienna by train.",
        "the aunt traveled to vienna by train",
        "die tante ist mit dem zug nach wien gereist",
    ),
    (
        Clause(ANNA, lexicon.ARRIVE, parts=(world.where("in", "in", city("Athens")), world.clock(3, 30))),
        "Anna arrived in Athens at 3:30.",
        "anna arrived in athens at three thirty",
        "anna ist um drei uhr dreißig in athen angekommen",
    ),
    (
        Clause(PAUL, lexicon.BORN, parts=(world.where("in", "in", city("Paris")), world.in_year(1984))),
        "Paul was born in Paris in 1984.",
        "paul was born in paris in nineteen eighty four",
        "paul wurde im jahr neunzehnhundertvierundachtzig in paris geboren",
    ),
    (
        Clause(PAUL, lexicon.BORN, negated=True, parts=(world.where("in", "in", city("Oslo")), world.in_year(2005))),
        "Paul was not born in Oslo in 2005.",
        "paul was not born in oslo in two thousand five",
        "paul wurde im jahr zweitausendfünf nicht in oslo geboren",
    ),
    (
        Clause(PAUL, lexicon.COME, "present", True, parts=(world.where("from", "aus", Name("Egypt", "ägypten")),)),
        "Paul does not come from Egypt.",
        "paul does not come from egypt",
        "paul kommt nicht aus ägypten",
    ),
    (
        Clause(the("table", "old"), lexicon.WEIGH, "present", parts=(world.quantity(12, "kg"),)),
        "The old table weighs 12 kg.",
        "the old table weighs twelve kilos",
        "der alte tisch wiegt zwölf kilo",
    ),
    (
        Clause(
            Phrase(lexicon.LANDMARKS[5].noun, lexicon.LOOKS[1]),
            lexicon.BE,
            "present",
            parts=(world.quantity(1250, "m"), events.adjectival(lexicon.LANDMARKS[5].dimension)),
        ),
        "The new bridge is 1250 m long.",
        "the new bridge is one thousand two hundred fifty meters long",
        "die neue brücke ist eintausendzweihundertfünfzig meter lang",
    ),
    (
        Clause(the("dancer"), lexicon.EXPECT, "present", object=the("boy"), parts=(world.clock(1, 0), MONDAY)),
        "The dancer expects the boy at 1:00 on Monday.",
        "the dancer expects the boy at one o'clock on monday",
        "die tänzerin erwartet den jungen am montag um ein uhr",
    ),
    (
        Clause(
            the("wedding"), lexicon.TAKE_PLACE, "present", True, parts=(world.where("in", "in", city("Oslo")), FRIDAY)
        ),
        "The wedding does not take place in Oslo on Friday.",
        "the wedding does not take place in oslo on friday",
        "die hochzeit findet am freitag nicht in oslo statt",
    ),
    (
        Clause(the("horse", "white"), lexicon.BELONG, "present", parts=(world.beside("to", "", the("girl")),)),
        "The white horse belongs to the girl.",
        "the white horse belongs to the girl",
        "das weiße pferd gehört dem mädchen",
    ),
    (
        Clause(the("uncle"), lexicon.GET, object=a("bed", "green"), parts=(world.beside("from", "von", the("aunt")),)),
        "The uncle got a green bed from the aunt.",
        "the uncle got a green bed from the aunt",
        "der onkel hat ein grünes bett von der tante bekommen",
    ),
    (
        Clause(ANNA, lexicon.PAY, parts=(world.price(99, 90), events.about("for", "für", the("coat", "old")))),
        "Anna paid $99.90 for the old coat.",
        "anna paid ninety nine dollars ninety for the old coat",
        "anna hat neunundneunzig dollar neunzig für den alten mantel bezahlt",
    ),
    (
        Clause(ANNA, lexicon.WILL_VISIT, "present", object=the("lawyer"), parts=(MONDAY,)),
        "Anna will visit the lawyer on Monday.",
        "anna will visit the lawyer on monday",
        "anna wird den anwalt am montag besuchen",
    ),
    (
        Clause(ANNA, lexicon.CELEBRATE, "present", parts=(events.predicated(world.in_month(MAY)),)),
        "Anna celebrates a birthday in May.",
        "anna celebrates a birthday in may",
        "anna feiert im mai geburtstag",
    ),
    (
        Clause(
            ANNA, lexicon.JUDGE, negated=True, object=the("letter", "new"), parts=(reviews.said("funny", "lustig"),)
        ),
        "Anna did not find the new letter funny.",
        "anna did not find the new letter funny",
        "anna fand den neuen brief nicht lustig",
    ),
]


@pytest.mark.parametrize(("clause", "written", "spoken", "translated"), TRIPLETS, ids=lambda value: str(value)[:30])
def test_literal_sentences(clause, written, spoken, translated):
    said = world.english(clause)
    assert (said.written, said.spoken, said.german) == (written, spoken, translated)
    assert said.length == len(spoken.split())


def test_literal_reviews():
    film, good, bad = the("film"), Adjective("good", "gut"), Adjective("bad", "schlecht")
    draw = world.World(0).draw(seeds.rng(0))
    contrasts = [world.english(clause) for clause in reviews._contrast(film, bad, good)]
    assert [(said.spoken, said.german) for said in contrasts] == [
        ("the film was bad but good", "der film war schlecht aber gut"),
        ("the film was not bad but good", "der film war nicht schlecht sondern gut"),
        ("the film was bad at first but later good", "der film war zuerst schlecht aber später gut"),
    ]
    negations = [world.english(c) for c in reviews._negation(draw, film, ANNA, bad, lexicon.HATE)]
    told = {said.spoken: said.german for said in negations}
    assert told["the film was not bad"] == "der film war nicht schlecht"
    assert told["anna did not find the film bad"] == "anna fand den film nicht schlecht"
    assert told["it was not a bad film"] == "es war kein schlechter film"
    assert told["nobody hated the film"] == "niemand hat den film gehasst"
    assert told["anna did not hate the film"] == "anna hat den film nicht gehasst"


@pytest.mark.parametrize(
    ("value", "said"),
    [(7, "seven"), (21, "twenty one"), (250, "two hundred fifty"), (1984, "one thousand nine hundred eighty four")],
)
def test_numbers_have_no_hyphen_and_no_and(value, said):
    assert world.number(value) == said


@pytest.mark.parametrize(
    ("hour", "minute", "written", "said"),
    [(3, 0, "3:00", "three o'clock"), (9, 5, "9:05", "nine oh five"), (12, 45, "12:45", "twelve forty five")],
)
def test_times(hour, minute, written, said):
    part = world.clock(hour, minute)
    assert (part.written, part.spoken) == (f"at {written}", f"at {said}")


def test_german_of_one():
    assert german.clock(1, 30) == "ein uhr dreißig" and german.number(1) == "eins"
