"""Read Libri-Light."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from ablate.data.audio import FORMATS, Recording
from ablate.data.lines import STOP, Faults
from ablate.data.real.layouts.folders import entries, folders
from ablate.data.real.layouts.layout import Layout, span
from ablate.data.table import Example

LONGEST = 16.0  # seconds: maximum length of the pieces into which Libri-Light's chapters are cut at pauses


class LibriLight(Layout):
    """A subset with `SPEAKER/BOOK/` below it: its first recordings have metadata beside them, and no transcripts."""

    expected = "a Libri-Light folder"

    def knows(self, path: Path) -> bool:
        for chapter in folders(path, 2):
            names = [entry.name for entry in entries(chapter)]
            if any(name.endswith(".trans.txt") for name in names):
                return False
            if any(name.endswith(".json") for name in names):
                return True
        return False

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        return librilight(path, faults)

    def wordless(self, path: Path) -> str:
        return "Libri-Light has no transcripts"


def librilight(folder: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read Libri-Light's `SPEAKER/BOOK/CHAPTER.flac` with its .json, cut at pauses into pieces up to `LONGEST`.

    "voice_activity" holds [start, stop] of speech in seconds; a longer stretch of speech is cut into equal pieces.
    """
    for path in (Path(entry.path) for chapter in folders(folder, 2) for entry in entries(chapter)):
        if path.suffix.lower() not in FORMATS:
            continue
        facts = path.with_suffix(".json")
        if not facts.exists():
            faults.report(f"{path}: has no {facts.name} beside it.")
            continue
        try:
            active = [span(a, b) for a, b in json.loads(facts.read_text(encoding="utf-8"))["voice_activity"]]
        except (ValueError, KeyError, TypeError) as error:
            faults.report(f'{facts}: has no times of speech in "voice_activity" ({type(error).__name__}: {error}).')
            continue
        if not active:
            faults.expected(f"{folder}: recordings without speech")
        voice = path.relative_to(folder).parts[0]
        for number, (start, stop) in enumerate(pieces(active, LONGEST)):
            yield {
                "id": f"{voice}-{path.parent.name}-{path.stem}-{number:04}",
                "voice": voice,
                "document": f"{voice}-{path.parent.name}",
                "recording": Recording(path, round(start, 3), round(stop, 3)),
            }


def pieces(active: Iterable[tuple[float, float]], longest: float) -> Iterator[tuple[float, float]]:
    """Join stretches of speech, including pauses between them, up to `longest`; cut longer ones into equal pieces."""
    begun: tuple[float, float] | None = None
    for start, stop in active:
        if begun is not None and stop - begun[0] <= longest:
            begun = begun[0], stop
            continue
        if begun is not None:
            yield begun
        parts = max(1, -int(-(stop - start) // longest))
        step = (stop - start) / parts
        for part in range(parts - 1):
            yield start + part * step, start + (part + 1) * step
        begun = start + (parts - 1) * step, stop
    if begun is not None:
        yield begun
