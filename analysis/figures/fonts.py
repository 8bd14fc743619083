"""Fonts for letters that the usual font of figures lacks, such as those of Chinese, Japanese and Korean labels."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Set

from matplotlib.font_manager import FontProperties, findfont, findSystemFonts, fontManager, get_font

USUAL = "sans-serif"
SHOWN = 12
"""Maximum number of letters named in a message."""


@functools.lru_cache(maxsize=64)
def fallbacks(letters: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """Families of installed fonts for letters that the usual font lacks, those with the most of them first; and the
    letters that no installed font has.
    """
    lacking = {one for one in letters if one.isprintable() and not one.isspace()}
    lacking -= _of(findfont(FontProperties(family=[USUAL])), lacking)
    chosen, installed = [], _installed(lacking) if lacking else {}
    while lacking and installed:
        best = min(installed, key=lambda name: (-len(installed[name] & lacking), "sans" not in name.lower(), name))
        if not installed[best] & lacking:
            break
        chosen.append(best)
        lacking = lacking - installed.pop(best)
    return tuple(chosen), "".join(sorted(lacking))


def told(lacking: str) -> str:
    """Say which letters no installed font has, and what helps; "" where none are lacking."""
    if not lacking:
        return ""
    more = f" and {len(lacking) - SHOWN} others" if len(lacking) > SHOWN else ""
    return (
        f"No installed font has {' '.join(lacking[:SHOWN])}{more}, and figures show boxes in their place: install Noto "
        "(fonts-noto-cjk for Chinese, Japanese and Korean, fonts-noto-core for others) and write the report again."
    )


def _of(file: str, letters: Set[str]) -> set[str]:
    """Those letters that a font file has."""
    return {chr(code) for code in get_font(file).get_charmap()} & letters


def _installed(letters: Set[str]) -> dict[str, set[str]]:
    """The letters that installed fonts have, by family; families without any are left out, and so is the one that has
    a box for every letter. Makes matplotlib know fonts that were installed after it listed them.
    """
    families, known = defaultdict(set), {entry.fname for entry in fontManager.ttflist}
    for file in sorted({*findSystemFonts(), *known}):
        try:
            name = get_font(file).family_name
            has = set() if name.lower().replace(" ", "").lstrip(".").startswith("lastresort") else _of(file, letters)
        except RuntimeError:  # letters are pictures, as in fonts of emoji: matplotlib cannot draw them
            continue
        if has:
            families[name] |= has
            if file not in known:
                fontManager.addfont(file)
    return dict(families)
