"""How well the words of a text can be predicted from the rest of it, by rules without word order or meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from ablate.data.builtin import lexicon, world
from ablate.data.builtin.lexicon import Landmark, Part

MOST = 4000  # maximum number of texts examined

Text = Sequence[str]  # its sentences, in spoken form


def redundancy(texts: Sequence[Text]) -> dict[str, float]:
    """Three shares in % of the content words of `texts`.

    - "repeated": those that another sentence of their text contains too.
    - "guessed": those that are the most likely word between their two neighbours, where words that another sentence of
      the text contains are more likely, by as much as content words repeat; the rule is trained on every second text
      and tested on the others.
    - "guessed alone": the same from the two neighbours only.
    """
    said = [[sentence.split() for sentence in text] for text in texts[:MOST]]
    repeated = [word in others for _, word, _, others in _places(said)]
    share = sum(repeated) / max(1, len(repeated))
    with_others, alone = _guessed(said, share)
    return {"repeated": round(100 * share, 1), "guessed": with_others, "guessed alone": alone}


@cache
def content_words() -> frozenset[str]:
    """Content words: names, things, qualities, places, times and numbers; neither verbs nor function words."""
    content = {word for n in (*range(1, 101), 1000) for word in world.number(n).split()}
    content |= {word for n in range(1, 32) for word in world.number(n, "ordinal").split()}
    for words in (*world.OPEN.values(), *world.CLOSED.values()):
        for word in words:
            noun = word.noun if isinstance(word, Landmark) else word
            content.add((noun.spoken if isinstance(noun, Part) else noun.english).lower().split()[-1])
    return frozenset(content | {city.country.english.lower() for city in lexicon.CITIES} | {"weekend", "week"})


def _places(said: Sequence[Sequence[Sequence[str]]]) -> Iterator[tuple[str, str, str, set[str]]]:
    """Yield every content word between its two neighbours, with the content words of the text's other sentences."""
    content = content_words()
    for text in said:
        for i, sentence in enumerate(text):
            others = {word for j, other in enumerate(text) if j != i for word in other if word in content}
            for left, word, right in zip(["<", *sentence], sentence, [*sentence[1:], ">"]):
                if word in content:
                    yield left, word, right, others


def _guessed(said: Sequence[Sequence[Sequence[str]]], repeated: float) -> tuple[float, float]:
    """Shares in % of content words guessed right in every second text, from everything and from neighbours only."""
    names = sorted({word for place in _places(said) for word in place[:3]})
    index = {word: i for i, word in enumerate(names)}
    after, before = np.full((2, len(names), len(names)), 0.1)  # [neighbour, word]
    for left, word, right, _ in _places(said[::2]):
        after[index[left], index[word]] += 1
        before[index[right], index[word]] += 1
    times = after.sum(0)
    score_after, score_before = np.log(after / times), np.log(before / times)
    seen = times > 0.1 * len(names) + 0.5
    prior = np.where(seen, np.log(times), -np.inf)
    right_with = right_alone = total = 0
    for left, word, right, others in _places(said[1::2]):
        score = prior + score_after[index[left]] + score_before[index[right]]
        right_alone += names[score.argmax()] == word
        if others and 0 < repeated < 1:
            # A share `repeated` of content words is among `others`, the rest among all words that are not.
            gain = np.log(repeated / len(others)) - np.log((1 - repeated) / max(1, seen.sum() - len(others)))
            score[[index[other] for other in others]] += gain
        right_with += names[score.argmax()] == word
        total += 1
    return round(100 * right_with / max(1, total), 1), round(100 * right_alone / max(1, total), 1)
