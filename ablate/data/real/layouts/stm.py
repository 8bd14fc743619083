"""Read NIST's segments (STM)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase

from ablate.data.audio import FORMATS, Recording
from ablate.data.lines import STOP, Faults, lines
from ablate.data.real.layouts.folders import entries, folders
from ablate.data.real.layouts.layout import Layout, ignored, span
from ablate.data.table import Example

_BRACES = re.compile(r"\{([^{}]*)\}")
_HESITATION = re.compile(r"\(?%[^()\s]+\)?")
Beside = dict[Path, dict[str, list[Path]]]
"""By folder, the recordings in it and in its direct subfolders, by name, and by every part of a name up to a dot, this
dot included.
"""


class STM(Layout):
    """Segments of recordings: a file, or all files in a folder or in its subfolder `stm/`."""

    expected = ".stm or a folder with .stm files"

    def knows(self, path: Path) -> bool:
        return path.name.removesuffix(".gz").endswith(".stm") and path.is_file() or bool(_files(path))

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        beside: Beside = {}
        return (row for file in _files(path) or [path] for row in stm(Path(file), faults, beside))


def _files(folder: Path) -> list[str]:
    """The .stm files of a folder."""
    return sorted(e.path for place in (folder, folder / "stm") for e in entries(place) if e.name.endswith(".stm"))


def stm(path: Path, faults: Faults = STOP, beside: Beside | None = None) -> Iterator[Example]:
    """Read NIST segments, one `FILE CHANNEL SPEAKER START STOP [<LABELS>] WORDS` per line, of recordings called FILE.

    CHANNEL is a number from 1 or a letter from A. Marks are read as what they mean: see `_words`. The recordings lie
    beside the .stm, or in a folder beside its folder (TED-LIUM: `stm/` and `sph/`). Segments to be
    ignored in scoring are left out; lines with ";;" are comments. `beside` caches the recordings for the next .stm.
    """
    path = Path(path)
    beside = {} if beside is None else beside
    ids: Counter[str] = Counter()
    for number, line in lines(path, faults):
        if line.startswith(";;"):
            continue
        cells = line.split(None, 5)
        try:
            name, given, voice, start, stop = *cells[:3], *span(cells[3], cells[4])
        except (IndexError, ValueError):
            faults.report(
                f"{path}, line {number}: expected FILE CHANNEL SPEAKER START STOP WORDS, with times in seconds and "
                f"channels 1, 2, … or A, B; found '{' '.join(cells[:5])}'."
            )
            continue
        if (channel := _channel(given)) is None:
            faults.report(
                f"{path}, line {number}: the channel is '{given}', expected a number from 1 or a letter from A."
            )
            continue
        text = cells[5] if len(cells) > 5 else ""
        text = text.partition(">")[2] if text.startswith("<") else text
        if ignored(text):
            continue
        text = _words(text)
        for folder in (around := (path.parent, path.parent.parent)):
            if folder not in beside:
                beside[folder] = _beside(folder)
        called = (beside[folder].get(key, []) for key in (name, f"{name}.") for folder in around)
        found = next(filter(None, called), [])
        if len(found) != 1:
            several = f"several recordings are called '{name}' ({', '.join(one.name for one in found)}); keep one"
            none = f"there is no recording '{name}' here or in a folder beside this one"
            faults.report(f"{path}, line {number}: {several if found else none}.")
            continue
        recording = found[0]
        ids[id := f"{name}-{channel}-{start:.2f}-{stop:.2f}"] += 1  # simultaneous speakers may have equal times
        yield {
            "id": id if ids[id] == 1 else f"{id}-{ids[id]}",
            "text": text,
            "voice": voice,
            "document": name,
            "recording": Recording(recording, start, stop, channel - 1),
        }


def _channel(given: str) -> int | None:
    """The number of a channel, from 1; None for what is none."""
    if len(given) == 1 and given.upper() in ascii_uppercase:
        return ascii_uppercase.index(given.upper()) + 1
    return int(given) if given.isdecimal() and int(given) else None


def _words(text: str) -> str:
    """The words of a transcript: of alternatives `{ a / b }` the first, where "@" is no word; without noises `{COUGH}`
    and hesitations `(%hesitation)`.
    """
    text = _BRACES.sub(lambda match: match[1].partition("/")[0] if "/" in match[1] else " ", text)
    return " ".join(word for word in text.split() if word != "@" and not _HESITATION.fullmatch(word))


def _beside(folder: Path) -> dict[str, list[Path]]:
    """List the recordings in a folder and its direct subfolders; those in the folder itself come first."""
    recordings: dict[str, list[Path]] = {}
    for place in (folder, *folders(folder)):
        here: dict[str, list[Path]] = {}
        for path in (Path(entry.path) for entry in entries(place)):
            if path.suffix.lower() in FORMATS:
                parts = path.name.split(".")
                for name in (path.stem, *(f"{'.'.join(parts[:end])}." for end in range(1, len(parts) - 1))):
                    here.setdefault(name, []).append(path)
        recordings = here | recordings
    return recordings
