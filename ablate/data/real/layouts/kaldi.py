"""Read Kaldi's data folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ablate.data.audio import Recording
from ablate.data.lines import STOP, Faults, lines
from ablate.data.real.layouts.layout import Layout, span
from ablate.data.table import Example
from ablate.errors import UserError

_ARCHIVED = re.compile(r".+\.ark:\d+")


class Kaldi(Layout):
    """`wav.scp` and `utt2spk`; `text`, if there are transcripts; `segments`, if utterances are parts of recordings."""

    expected = "a Kaldi folder with wav.scp"

    def knows(self, path: Path) -> bool:
        return (path / "wav.scp").is_file()

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        return kaldi(path, faults)

    def wordless(self, path: Path) -> str:
        return "" if (path / "text").exists() else "there is no file 'text' beside wav.scp"

    def needs(self, path: Path) -> list[Path]:
        return [path / "wav.scp", path / "utt2spk"]


def kaldi(folder: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read a Kaldi folder, in the order of `segments` or else of `wav.scp`; the other files are held in memory.

    `wav.scp`: RECORDING PATH, which may hold spaces; a relative path is searched from the folder upwards. Commands (a
    pipe) are not run, and places in an archive (.ark:NUMBER) not read. `segments`: UTTERANCE RECORDING START STOP
    [CHANNEL], in seconds, with STOP -1 for the end and channels from 0; without it, the utterances are the recordings.
    `utt2spk`: UTTERANCE SPEAKER. `text`: UTTERANCE WORDS, which may be empty.

    Source: "Data preparation" in Kaldi's documentation, and its extract-segments for the last two columns.
    """
    folder = Path(folder)
    scp, cut, said, spoken = (folder / name for name in ("wav.scp", "segments", "text", "utt2spk"))
    texts = _keyed(said, faults) if said.exists() else None
    voices, files = _keyed(spoken, faults), _keyed(scp, faults)
    listed, utterances = (cut, _keyed(cut, faults)) if cut.exists() else (scp, files)
    if not utterances:
        raise UserError(f"{listed}: is empty, expected a line for each {'utterance' if cut.exists() else 'recording'}.")
    for utterance, (number, rest) in utterances.items():
        where = f"{listed}, line {number}"
        lacking = [path for path, of in ((spoken, voices), (said, texts)) if of is not None and utterance not in of]
        if lacking:
            faults.report(f"{lacking[0]}: has no line for '{utterance}' ({where}).")
            continue
        part = _part(where, rest, faults) if cut.exists() else (utterance, 0.0, None, None)
        if part is None:
            continue
        name, *place = part
        if name not in files:
            faults.report(f"{where}: the recording '{name}' is not in {scp}.")
        elif file := _file(folder, name, *files[name], faults):
            row: Example = {"id": utterance, "voice": voices[utterance][1]}
            row |= {} if texts is None else {"text": texts[utterance][1]}
            row |= {"document": name} if cut.exists() else {}
            yield row | {"recording": Recording(file, *place)}
    for path, of in ((said, texts), (spoken, voices)):
        for utterance, (number, _) in (of or {}).items():
            if utterance not in utterances:
                faults.report(f"{path}, line {number}: '{utterance}' is not in {listed.name}.")


def _keyed(path: Path, faults: Faults) -> dict[str, tuple[int, str]]:
    """By the first word of a line: its number, and what follows. A second line with this word is reported."""
    made: dict[str, tuple[int, str]] = {}
    for number, line in lines(path, faults):
        key, _, rest = line.strip().replace("\t", " ", 1).partition(" ")
        if key in made:
            faults.report(f"{path}, line {number}: has '{key}', as line {made[key][0]} has; keep one.")
        else:
            made[key] = number, rest.strip()
    return made


def _part(where: str, rest: str, faults: Faults) -> tuple[str, float, float | None, int | None] | None:
    """Recording, start, stop and channel of a segment; None if it is none, which is reported."""
    cells = rest.split()
    try:
        name, start, stop, *more = cells
        channel = int(more[0]) if more else None
        if len(more) > 1 or channel is not None and channel < 0:
            raise ValueError
        first, last = span(start, start if float(stop) == -1 else stop)
        return name, first, None if float(stop) == -1 else last, channel
    except ValueError:
        faults.report(
            f"{where}: expected UTTERANCE RECORDING START STOP, with times in seconds and the stop after the start; "
            f"found '{' '.join(cells)}' after the utterance."
        )
        return None


def _file(folder: Path, name: str, number: int, said: str, faults: Faults) -> str | None:
    """The file of a recording; None if there is none, which is reported."""
    where = f"{folder / 'wav.scp'}, line {number}"
    if said.endswith("|"):
        command = said.rstrip("| ")
        faults.report(
            f"{where}: '{name}' is the command '{command}', which is not run; write its output into a file "
            f"({command} > {name}.wav), and the file's path here."
        )
    elif _ARCHIVED.fullmatch(said):
        faults.report(
            f"{where}: '{name}' is a place in an archive ({said}), which is not read; write its sound into a file "
            f"(wav-copy {said} {name}.wav), and the file's path here."
        )
    elif not said:
        faults.report(f"{where}: '{name}' has no path after it.")
    elif found := _found(str(folder), said):
        return found
    else:
        upwards = "" if os.path.isabs(said) else ", nor from this folder upwards"
        faults.report(f"{where}: the recording {said} does not exist{upwards}.")
    return None


@lru_cache(4096)  # segments of the same recording are adjacent
def _found(folder: str, said: str) -> str | None:
    above = [folder, *map(str, Path(folder).parents)]
    return next((file for one in above if os.path.isfile(file := os.path.join(one, said))), None)
