"""Words of the built-in world, in English and German, and the pieces that sentences are made of.

German nouns have a gender; weak masculine nouns also the form of their other cases ("den Nachbarn"). All German is
lower-case, as it is spoken and scored.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Noun:
    """A common noun, singular."""

    english: str
    german: str
    gender: str  # m, f, n
    oblique: str = ""  # accusative and dative of weak masculine nouns
    category: str = ""  # of objects: the English name of their category


@dataclass(frozen=True)
class Name:
    """A proper name or pronoun: no article, no case endings."""

    english: str
    german: str


@dataclass(frozen=True)
class Adjective:
    english: str
    german: str


@dataclass(frozen=True)
class Phrase:
    """A noun phrase, or a name."""

    noun: Noun | Name
    adjective: Adjective | None = None
    definite: bool = True


@dataclass(frozen=True)
class Verb:
    """A verb: what follows the subject in English; in German its finite form and what closes the clause."""

    past: str
    base: str
    third: str
    german_past: tuple[str, str] = ("", "")  # ("hat", "getroffen"), ("war", "")
    german_present: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Part:
    """A part of a clause besides subject and objects; `role` determines its place in the German clause."""

    role: str
    written: str
    spoken: str
    german: str


@dataclass(frozen=True)
class City:
    english: str
    german: str
    country: Name


@dataclass(frozen=True)
class Landmark:
    noun: Noun
    dimension: Adjective


@dataclass(frozen=True)
class Clause:
    """A sentence before it is put into words."""

    subject: Phrase
    verb: Verb
    tense: str = "past"  # or "present"
    negated: bool = False
    indirect: Phrase | None = None  # dative
    object: Phrase | None = None  # accusative
    parts: tuple[Part, ...] = ()  # in English order


def _names(words: str) -> tuple[Name, ...]:
    return tuple(Name(word, word.lower()) for word in words.split())


def _nouns(table: str, category: str = "") -> tuple[Noun, ...]:
    """Read "english german gender [oblique]" per comma."""
    rows = [row.split() for row in table.split(",")]
    return tuple(Noun(row[0], row[1], row[2], row[3] if len(row) > 3 else "", category) for row in rows)


def _adjectives(table: str) -> tuple[Adjective, ...]:
    return tuple(Adjective(*row.split()) for row in table.split(","))


NAMES = _names(
    "Anna Paul Maria Peter Julia Thomas Laura Martin Sarah Daniel Emma David Lisa Robert Helen Simon Nina Oscar "
    "Sophie Felix"
)
ROLES = _nouns(
    "doctor arzt m, teacher lehrer m, neighbor nachbar m nachbarn, baker bäcker m, student student m studenten, "
    "lawyer anwalt m, farmer bauer m bauern, nurse krankenschwester f, dancer tänzerin f, waitress kellnerin f, "
    "girl mädchen n, boy junge m jungen, child kind n, uncle onkel m, aunt tante f"
)
CATEGORIES = {
    "animal": Noun("animal", "tier", "n"),
    "vehicle": Noun("vehicle", "fahrzeug", "n"),
    "instrument": Noun("instrument", "instrument", "n"),
    "tool": Noun("tool", "werkzeug", "n"),
    "furniture": Noun("piece of furniture", "möbelstück", "n"),
    "clothing": Noun("piece of clothing", "kleidungsstück", "n"),
}
OBJECTS = (
    *_nouns("dog hund m, cat katze f, horse pferd n, bird vogel m, cow kuh f, sheep schaf n", "animal"),
    *_nouns("car auto n, truck lastwagen m, bicycle fahrrad n, boat boot n, tractor traktor m", "vehicle"),
    *_nouns("guitar gitarre f, piano klavier n, violin geige f, trumpet trompete f, flute flöte f", "instrument"),
    *_nouns("hammer hammer m, knife messer n, saw säge f, shovel schaufel f, axe axt f", "tool"),
    *_nouns("table tisch m, chair stuhl m, bed bett n, cupboard schrank m, sofa sofa n", "furniture"),
    *_nouns("coat mantel m, hat hut m, shirt hemd n, dress kleid n, jacket jacke f", "clothing"),
)
COLORS = _adjectives("red rot, green grün, blue blau, white weiß, black schwarz, yellow gelb, brown braun")
LOOKS = _adjectives("old alt, new neu, small klein, big groß, strange seltsam, pretty hübsch")
CITIES = tuple(
    City(english, german, Name(country, country_german))
    for english, german, country, country_german in (
        ("Paris", "paris", "France", "frankreich"),
        ("London", "london", "England", "england"),
        ("Rome", "rom", "Italy", "italien"),
        ("Berlin", "berlin", "Germany", "deutschland"),
        ("Vienna", "wien", "Austria", "österreich"),
        ("Madrid", "madrid", "Spain", "spanien"),
        ("Lisbon", "lissabon", "Portugal", "portugal"),
        ("Oslo", "oslo", "Norway", "norwegen"),
        ("Athens", "athen", "Greece", "griechenland"),
        ("Warsaw", "warschau", "Poland", "polen"),
        ("Dublin", "dublin", "Ireland", "irland"),
        ("Cairo", "kairo", "Egypt", "ägypten"),
        ("Tokyo", "tokio", "Japan", "japan"),
        ("Toronto", "toronto", "Canada", "kanada"),
    )
)
PLACES = tuple(
    Part("place", english, english, german)
    for english, german in (
        ("in the park", "im park"),
        ("at the station", "am bahnhof"),
        ("at the market", "auf dem markt"),
        ("in the church", "in der kirche"),
        ("in the museum", "im museum"),
        ("in the hotel", "im hotel"),
        ("in the garden", "im garten"),
        ("in the library", "in der bibliothek"),
        ("at the airport", "am flughafen"),
        ("on the bridge", "auf der brücke"),
    )
)
TRANSPORT = tuple(
    Part("manner", english, english, german)
    for english, german in (
        ("by train", "mit dem zug"),
        ("by bus", "mit dem bus"),
        ("by car", "mit dem auto"),
        ("by ship", "mit dem schiff"),
        ("by plane", "mit dem flugzeug"),
    )
)
DAYS = tuple(
    Part("time", f"on {english}", f"on {english.lower()}", f"am {german}")
    for english, german in zip(
        ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
        ("montag", "dienstag", "mittwoch", "donnerstag", "freitag", "samstag", "sonntag"),
        strict=True,
    )
)
WEEKEND = Part("time", "over the weekend", "over the weekend", "am wochenende")
WEEK = Part("time", "during the week", "during the week", "unter der woche")
MONTHS = tuple(
    Name(english, german)
    for english, german in zip(
        "January February March April May June July August September October November December".split(),
        "januar februar märz april mai juni juli august september oktober november dezember".split(),
        strict=True,
    )
)
SEASONS = tuple(
    Part("time", f"in the {english}", f"in the {english}", f"im {german}")
    for english, german in (("winter", "winter"), ("spring", "frühling"), ("summer", "sommer"), ("autumn", "herbst"))
)
PROGRAMS = _nouns(
    "concert konzert n, exam prüfung f, party feier f, meeting sitzung f, game spiel n, course kurs m, "
    "wedding hochzeit f, festival fest n"
)
_HIGH, _TALL, _LONG, _DEEP = _adjectives("high hoch, tall hoch, long lang, deep tief")
LANDMARKS = (
    *(Landmark(noun, _HIGH) for noun in _nouns("mountain berg m, wall mauer f")),
    *(Landmark(noun, _TALL) for noun in _nouns("tower turm m, tree baum m, building gebäude n")),
    *(Landmark(noun, _LONG) for noun in _nouns("bridge brücke f, river fluss m, street straße f, tunnel tunnel m")),
    *(Landmark(noun, _DEEP) for noun in _nouns("lake see m")),
)
CREATIONS = _nouns(
    "film film m, book buch n, song lied n, play theaterstück n, story geschichte f, show sendung f, "
    "speech rede f, poem gedicht n, concert konzert n, letter brief m, game spiel n, party feier f, "
    "exhibition ausstellung f, picture bild n"
)
GOOD = _adjectives(
    "good gut, nice nett, beautiful schön, interesting interessant, exciting spannend, funny lustig, clever klug, "
    "charming charmant, original originell, moving bewegend, pleasant angenehm, entertaining unterhaltsam"
)
BAD = _adjectives(
    "bad schlecht, boring langweilig, ugly hässlich, dull eintönig, stupid dumm, weak schwach, silly albern, "
    "disappointing enttäuschend, tiring ermüdend, confusing verwirrend, annoying nervig, embarrassing peinlich"
)
CHEAP, EXPENSIVE, LIGHT, HEAVY = _adjectives("cheap billig, expensive teuer, light leicht, heavy schwer")
HAPPY, SAD = _adjectives("happy glücklich, sad traurig")

BE = Verb("was", "be", "is", ("war", ""), ("ist", ""))
MEET = Verb("met", "meet", "meets", ("hat", "getroffen"))
SEE = Verb("saw", "see", "sees", ("hat", "gesehen"))
BUY = Verb("bought", "buy", "buys", ("hat", "gekauft"))
SELL = Verb("sold", "sell", "sells", ("hat", "verkauft"))
COST = Verb("cost", "cost", "costs", ("hat", "gekostet"))
PAY = Verb("paid", "pay", "pays", ("hat", "bezahlt"))
OWN = Verb("owned", "own", "owns", german_present=("besitzt", ""))
TRAVEL = Verb("traveled", "travel", "travels", ("ist", "gereist"))
VISIT = Verb("visited", "visit", "visits", ("hat", "besucht"))
ARRIVE = Verb("arrived", "arrive", "arrives", ("ist", "angekommen"))
BORN = Verb("was born", "be born", "is born", ("wurde", "geboren"))
COME = Verb("came", "come", "comes", german_present=("kommt", ""))
CELEBRATE = Verb(
    "celebrated a birthday", "celebrate a birthday", "celebrates a birthday", german_present=("feiert", "geburtstag")
)
GIVE = Verb("gave", "give", "gives", ("hat", "gegeben"))
GET = Verb("got", "get", "gets", ("hat", "bekommen"))
BELONG = Verb("belonged", "belong", "belongs", german_present=("gehört", ""))
THANK = Verb("thanked", "thank", "thanks", ("hat", "gedankt"))
LOSE = Verb("lost", "lose", "loses", ("hat", "verloren"))
FIND = Verb("found", "find", "finds", ("hat", "gefunden"))
SEEK = Verb("looked for", "look for", "looks for", ("hat", "gesucht"))
MEASURE = Verb("measured", "measure", "measures", ("hat", "vermessen"))
WEIGH = Verb("weighed", "weigh", "weighs", ("hat", "gewogen"), ("wiegt", ""))
BEGIN = Verb("began", "begin", "begins", german_present=("beginnt", ""))
TAKE_PLACE = Verb("took place", "take place", "takes place", ("hat", "stattgefunden"), ("findet", "statt"))
EXPECT = Verb("expected", "expect", "expects", german_present=("erwartet", ""))
HAVE = Verb("had", "have", "has", german_present=("hat", ""))
WILL_VISIT = Verb("", "", "will visit", german_present=("wird", "besuchen"))
JUDGE = Verb("found", "find", "finds", ("fand", ""))  # found the film boring
LIKE = Verb("liked", "like", "likes", ("hat", "gemocht"))
LOVE = Verb("loved", "love", "loves", ("hat", "geliebt"))
HATE = Verb("hated", "hate", "hates", ("hat", "gehasst"))
