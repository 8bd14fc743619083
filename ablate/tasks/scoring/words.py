"""What counts as a word and as a character when errors are counted. Equal words are equal, however they are typed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache

from ablate.data.spelling import composed, lowered

APOSTROPHES = "\u2019\u2018\u201b\u02bc\u02bb\u02b9\u2032\uff07`\u00b4\u0384\u1fbd\u055a\u05f3\ua78c"
"""What is typed for an apostrophe: quotation marks, modifier letters, primes, accents that stand alone, geresh."""
ZWNJ, ZWJ = "\u200c", "\u200d"
VIRAMA = 9  # combining class of the signs that suppress a vowel or stack consonants
_INVISIBLE = (
    *(0x00AD, 0x034F, 0x061C, 0x0640, 0x200B, 0x200E, 0x200F, 0xFEFF),  # soft hyphen, tatweel, zero-width space, ...
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),  # variation selectors
    *range(0xE0100, 0xE01F0),
)
_TYPED = {**dict.fromkeys(map(ord, APOSTROPHES), "'"), **dict.fromkeys(_INVISIBLE)}
_GERSHAYIM = re.compile('(?<=[\u05b0-\u05ea])["\u05f4\u201c\u201d](?=[\u05d0-\u05ea])')  # inside Hebrew acronyms
_AM = str.maketrans({"\u0e33": "\ue033", "\u0eb3": "\ue0b3"})  # NFKC would take Thai's and Lao's "am" apart
_AM_AGAIN = {"\ue033": "\u0e33", "\ue0b3": "\u0eb3", "\u0e4d\u0e32": "\u0e33", "\u0ecd\u0eb2": "\u0eb3"}
_NO_WORD = re.compile(r"[^\w\s']|_")
# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = (
    "\u0e01-\u0e4e\u0e81-\u0ece\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u109a-\u109f\u1780-\u17d3\u17dc\u17dd"
    "\u3005-\u3007\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED = re.compile(f"[{UNSPACED}]")
_SPACE = re.compile(f"(?<=[{UNSPACED}]) | (?=[{UNSPACED}])")


def normalise(text: str) -> str:
    """The form in which texts are compared: lower case, compatibility forms composed (NFKC), one space between words,
    no punctuation. Marks belong to their letters (Mn and Mc stay).

    Apostrophes are one character and stay inside words; at the ends of words they cannot be told from quotation marks
    and go. Invisible characters go, except joiners where they carry meaning: beside a virama, and the non-joiner
    between two Arabic letters. No space is left beside a character of a script that has none between words.
    """
    if text.isascii():
        text = _NO_WORD.sub(" ", text.lower().replace("`", "'"))
    else:
        text = _GERSHAYIM.sub("", composed(text).translate(_TYPED))
        text = lowered(unicodedata.normalize("NFKC", text.translate(_AM)))
        for taken_apart, whole in _AM_AGAIN.items():
            text = text.replace(taken_apart, whole)
        text = "".join(_kept(text))
    words = (word.strip("'") for word in text.replace("''", " ").split())
    return _SPACE.sub("", " ".join(filter(None, words)))


def words(text: str) -> list[str]:
    """The words of a text after `normalise`. In a script without spaces each character, with its marks, is one."""
    found: list[str] = []
    for word in normalise(text).split():
        found += [word] if word.isascii() else _units(word)
    return found


def unspaced(texts: Iterable[str]) -> bool:
    """Whether most characters of these texts are of a script without spaces between words."""
    said = "".join(texts)
    return 2 * len(_UNSPACED.findall(said)) > sum(map(str.isalnum, said))


def _kept(text: str) -> Iterator[str]:
    """Its characters, with a space for each that is no part of a word."""
    before = " "
    for number, one in enumerate(text):
        if _mark(one):
            one = one if before not in " '" else ""
        elif one in (ZWNJ, ZWJ):
            one = one if _joins(one, text[:number], text[number + 1 :][:1]) else ""
        elif one != "'" and not one.isalnum():
            one = " "
        yield one
        before = one or before


def _joins(joiner: str, before: str, after: str) -> bool:
    """Whether a joiner that stands between these carries meaning."""
    if before and unicodedata.combining(before[-1]) == VIRAMA:
        return joiner == ZWJ or after.isalpha()
    if joiner == ZWJ:
        return bool(after) and unicodedata.combining(after) == VIRAMA
    base = next((one for one in reversed(before) if not _mark(one)), "")
    return all(one and unicodedata.bidirectional(one) == "AL" for one in (base, after))


def _units(word: str) -> Iterator[str]:
    """A word's characters of scripts without spaces, each with its marks, and what stands between these."""
    unit, alone = "", False  # the unit so far; whether it is such a character
    for one in word:
        own = _UNSPACED.match(one) is not None
        if unit and not _mark(one) and one not in (ZWNJ, ZWJ) and (own or alone):
            yield unit
            unit = ""
        alone = own if not unit else alone
        unit += one
    yield unit


@lru_cache(maxsize=4096)
def _mark(one: str) -> bool:
    return unicodedata.category(one) in ("Mn", "Mc")
