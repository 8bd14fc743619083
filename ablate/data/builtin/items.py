"""Items of the built-in tables: one sentence, a story, a review, a pair of sentences, a sentence with numerals.

All sentences of an item must be `mine`. An item with other sentences is drawn again, within its kind, so that stories
of three sentences and pairs with two premises are just as frequent in a split that few sentences belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ablate.data.builtin.events import EVENTS, RELATIONS
from ablate.data.builtin.lexicon import Clause
from ablate.data.builtin.reviews import KINDS, opinion, review, work
from ablate.data.builtin.world import Draw, Sentence, english

_SPLITS = ("train", "dev", "test")
TABLES = {  # of the built-in corpus, and their splits
    **dict.fromkeys(("speech", "text", "pairs"), _SPLITS[:2]),
    "retrieval": _SPLITS[1:],
    "asr": (*_SPLITS, "test_unseen"),
    **dict.fromkeys(("translation", "sentiment", "sentence_pair", "normalization"), _SPLITS),
}
_HEARD = ("id", "text", "voice", "snr", "phones", "seconds", "frames")
COLUMNS = {  # of its tables
    **dict.fromkeys(("speech", "pairs", "retrieval", "asr"), _HEARD),
    "translation": (*_HEARD, "translation"),
    "text": ("id", "text"),
    "sentiment": ("id", "text", "label"),
    "sentence_pair": ("id", "text", "text_b", "label"),
    "normalization": ("id", "written", "spoken"),
}
SHORT, LONG = 5, 9  # words of a sentence to be spoken: about two to three seconds
_NEGATED = 0.1  # share of single sentences, where the clause allows it

Mine = Callable[[str], bool]  # whether a sentence, in spoken form, may be in the split that is drawn


@dataclass(frozen=True)
class Item:
    """A row without its id, and its sentences (spoken form), which determine its split."""

    row: dict[str, Any]
    sentences: tuple[str, ...]
    shared: dict[str, str] = field(default_factory=dict)
    """What it has in common with other items: its template, as {"template": "trip 2"}, or the relation of a pair."""


def negatable(clause: Clause) -> bool:
    """Whether "not" can be added in both languages without moving anything else."""
    return not clause.negated and bool(clause.verb.base) and all(part.role != "measure" for part in clause.parts)


def _one(draw: Draw, kind: str, clauses: Sequence[Clause]) -> tuple[Clause, dict[str, str]]:
    """Draw one of the ways to tell a kind of event or opinion, and what it shares: its template."""
    way = draw.below(len(clauses))
    return clauses[way], {"template": f"{kind} {way + 1}"}


def _opinion(draw: Draw, good: bool | None) -> tuple[Clause, dict[str, str]]:
    """One sentence of a review; without `good` that is drawn, too."""
    reviewed = work(draw)
    good = draw.chance(0.5) if good is None else good
    kind = draw.of(KINDS)
    return _one(draw, kind, review(draw, reviewed, good, kind))


def _statement(draw: Draw) -> tuple[Clause, dict[str, str]]:
    """One sentence about an event."""
    event = draw.of(EVENTS)
    return _one(draw, event.__name__, event(draw).statements)


def sentence(draw: Draw, mine: Mine, reviews: float = 0.1) -> tuple[Sentence, dict[str, str]]:
    """One statement about one event, in 5 to 9 spoken words, and its template; `reviews` is the share of opinions."""
    while True:
        if draw.chance(reviews):
            clause, shared = _opinion(draw, None)
        else:
            clause, shared = _statement(draw)
            if draw.chance(_NEGATED) and negatable(clause):
                clause = replace(clause, negated=True)
        said = english(clause)
        if SHORT <= said.length <= LONG and mine(said.spoken):
            return said, shared


def transcript(draw: Draw, mine: Mine) -> Item:
    """A sentence to be spoken."""
    said, shared = sentence(draw, mine)
    return Item({"text": said.spoken}, (said.spoken,), shared)


def fact(draw: Draw, mine: Mine) -> Item:
    """A sentence to be spoken whose words do not predict each other: no review."""
    said, shared = sentence(draw, mine, reviews=0.0)
    return Item({"text": said.spoken}, (said.spoken,), shared)


def translation(draw: Draw, mine: Mine) -> Item:
    said, shared = sentence(draw, mine)
    return Item({"text": said.spoken, "translation": said.german}, (said.spoken,), shared)


def story(draw: Draw, mine: Mine) -> Item:
    """Describe one event in two or three sentences, all written or all spoken."""
    kind = opinion if draw.chance(0.2) else draw.of(EVENTS)
    most, written = 2 + draw.below(2), draw.chance(0.5)
    while True:
        clauses, told = list(kind(draw).statements), []
        for _ in range(min(len(clauses), most)):
            told.append(english(clauses.pop(draw.below(len(clauses)))))
            if not mine(told[-1].spoken):
                break
        else:
            text = " ".join(said.written if written else said.spoken for said in told)
            return Item({"text": text}, tuple(said.spoken for said in told))


def sentiment(draw: Draw, mine: Mine, good: bool) -> Item:
    while True:
        clause, shared = _opinion(draw, good)
        said = english(clause)
        if mine(said.spoken):
            return Item({"text": said.spoken, "label": "positive" if good else "negative"}, (said.spoken,), shared)


def sentence_pair(draw: Draw, mine: Mine, entailed: bool) -> Item:
    """A premise and a hypothesis that follows or does not; both hypotheses share equally many words with it."""
    kind = None
    while True:
        relation, event = kind or draw.of(RELATIONS)
        contrasts = [contrast for contrast in event(draw).contrasts if contrast.relation == relation]
        if not contrasts:
            continue
        contrast = draw.of(contrasts)
        premises = [english(clause).spoken for clause in contrast.premises]
        if kind is not None and not all(map(mine, premises)):
            continue
        true, false = english(contrast.entailed).spoken, english(contrast.refuted).spoken
        if _common(premises, true) != _common(premises, false):
            continue
        kind = relation, event
        hypothesis = true if entailed else false
        if not all(map(mine, (*premises, hypothesis))):
            continue
        label = "entailment" if entailed else "not_entailment"
        row = {"text": " and ".join(premises), "text_b": hypothesis, "label": label}
        return Item(row, (*premises, hypothesis), {"relation": relation})


def _common(premises: list[str], hypothesis: str) -> tuple[int, ...]:
    """Number of words of the hypothesis, of its distinct words, and how many of each the premises contain."""
    words, given = hypothesis.split(), set(" ".join(premises).split())
    return len(words), len(set(words)), sum(word in given for word in words), len(given.intersection(words))


def normalization(draw: Draw, mine: Mine) -> Item:
    """A written sentence with numerals, and its spoken form."""
    while True:
        clause, shared = _statement(draw)
        said = english(clause)
        if any(letter.isdigit() for letter in said.written) and mine(said.spoken):
            return Item({"written": said.written, "spoken": said.spoken}, (said.spoken,), shared)
