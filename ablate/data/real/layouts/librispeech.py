"""Read LibriSpeech."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import splitext
from pathlib import Path

from ablate.data.audio import FORMATS, Recording
from ablate.data.lines import STOP, Faults, lines
from ablate.data.real.layouts.folders import entries, folders
from ablate.data.real.layouts.layout import Layout
from ablate.data.table import Example
from ablate.errors import UserError


class LibriSpeech(Layout):
    """A subset with `SPEAKER/CHAPTER/` below it, whose files begin with SPEAKER-CHAPTER."""

    expected = "a LibriSpeech folder"

    def knows(self, path: Path) -> bool:
        begins = ((chapter, "-".join([*chapter.split("/")[-2:], ""])) for chapter in folders(path, 2))
        return any(one.name.startswith((name, f"{name[:-1]}.")) for chapter, name in begins for one in entries(chapter))

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        return librispeech(path, faults)


def librispeech(folder: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read `SPEAKER/CHAPTER/` with its `.trans.txt` below `folder`, sorted by name."""
    folder = Path(folder)
    chapters = folders(folder, 2)
    if not chapters:
        raise UserError(f"{folder}: expected the LibriSpeech layout SUBSET/SPEAKER/CHAPTER/, found no such folders.")
    for path in chapters:
        *_, voice, chapter = path.split("/")
        files = {entry.name: entry.path for entry in entries(path)}
        transcripts = Path(path, f"{voice}-{chapter}.trans.txt")
        parts = ((splitext(name), path) for name, path in files.items())
        recordings = {stem: path for (stem, suffix), path in parts if suffix.lower() in FORMATS}
        if transcripts.name not in files:
            faults.report(f"{transcripts}: there is no such file, but recordings beside it.")
            continue
        taken: dict[str, int] = {}
        for number, line in lines(transcripts, faults):
            name, _, text = line.partition(" ")
            if name in recordings:
                taken[name] = number
                row = {"id": name, "text": text.strip(), "voice": voice, "document": f"{voice}-{chapter}"}
                yield row | {"recording": Recording(recordings.pop(name))}
            elif name in taken:
                faults.report(
                    f"{transcripts}, line {number}: '{name}' has a transcript in line {taken[name]} already; keep one."
                )
            else:
                other = next((one for one in files if splitext(one)[0] == name), "")
                flac = f"; {other} is in no format that is read: convert it (ffmpeg -i {other} {name}.flac)"
                faults.report(
                    f"{transcripts}, line {number}: '{name}' has a transcript but no recording beside it"
                    f"{flac if other else ''}."
                )
        for _ in recordings:  # recordings without a transcript are only counted
            faults.expected(f"{folder}: recordings that no transcript lists")
