"""How texts are spelt after reading: composed (NFC), in lower case; and which leave no doubt about their words."""

from __future__ import annotations

import re
import unicodedata

SCORING = 2
"""Recipe of how words, characters and n-grams are counted, raised by hand when that changes. It enters the ids only of
evaluated splits whose scores depend on it, so that all others keep theirs.
"""
OWN_WORDS = frozenset(("zh", "ja", "ko", "th", "lo", "km", "my", "bo"))
"""Languages whose words are not what stands between spaces and punctuation: n-grams are not counted as in others."""
_LONG = {
    **dict.fromkeys(("cmn", "zho", "chi", "yue", "wuu", "nan", "hak"), "zh"),
    **{"jpn": "ja", "kor": "ko", "tha": "th", "lao": "lo", "khm": "km", "mya": "my", "bur": "my", "bod": "bo"},
}
_DOUBTFUL = re.compile(r"(?<![A-Za-z0-9])'|'(?![A-Za-z0-9])|`")


def composed(text: str) -> str:
    """The text in Unicode's normal form C: a letter and its marks are one character where there is one, and several
    marks of a letter stand in one order. All texts of corpora are composed when they are read, and so is every output.
    """
    return unicodedata.normalize("NFC", text)


def lowered(text: str) -> str:
    """The text in lower case. The capital dotted İ becomes i, as in Turkish, and not i with a second dot."""
    return text.replace("\u0130", "i").lower()


def language(code: str) -> str:
    """The language of a code as corpora write it, for those of `OWN_WORDS` in two letters: "zh-CN" and "cmn_hans" are
    "zh".
    """
    first = re.split("[-_]", code.lower())[0]
    return _LONG.get(first, first)


def plain(text: str) -> bool:
    """Whether nobody disputes its words: it is ASCII, and each apostrophe stands between letters or digits. No rule
    about marks, joiners, quotes or scripts changes the score of such a text.
    """
    return text.isascii() and _DOUBTFUL.search(text) is None
