"""Read fairseq's manifests."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import dirname, isdir, join, splitext
from pathlib import Path

from ablate.data.audio import Recording
from ablate.data.lines import STOP, Faults, lines
from ablate.data.real.layouts.layout import Layout, first, there
from ablate.data.table import Example
from ablate.errors import UserError


class Fairseq(Layout):
    """A manifest, with a folder in its first line."""

    expected = "fairseq's .tsv"
    speakers = False

    def knows(self, path: Path) -> bool:
        return path.name.removesuffix(".gz").endswith(".tsv") and path.is_file() and "\t" not in first(path)

    def rows(self, path: Path, faults: Faults) -> Iterator[Example]:
        return fairseq(path, faults)

    def wordless(self, path: Path) -> str:
        return "" if _beside(path) else f"there is no {path.name.partition('.')[0]}.wrd or .ltr beside {path.name}"


def fairseq(path: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read fairseq's manifest: a root folder, then one `path<TAB>samples` per line; transcripts in .ltr or .wrd beside
    it.

    The root may be relative to the manifest's folder, or else to the current one. In .ltr, letters are separated by
    spaces and words by "|". Speakers are not given: the voice is the recording's folder.
    """
    path = Path(path)
    rows = lines(path, faults)
    _, said = next(rows, (0, ""))
    root = next((folder for folder in (join(path.parent, said), said) if isdir(folder)), None)
    if root is None:
        commas = "; a table needs tabs between its columns, and this one has commas" if "," in said else ""
        raise UserError(
            f"{path}, line 1: there is no folder '{said}', expected the one that holds the recordings below it{commas}."
        )
    beside = _beside(path)
    transcripts = iter(() if beside is None else lines(beside, faults))
    at, text, number = 0, "", 1
    for number, line in rows:
        name, _, stated = line.partition("\t")
        recording = join(root, name)
        if not there(recording, path, number, faults):
            continue
        row: Example = {"id": splitext(name)[0], "voice": dirname(name), "document": dirname(name)}
        row |= {"recording": Recording(recording)}
        row |= {"stated": int(stated)} if stated.isdecimal() else {}
        while at < number - 1 and (
            following := next(transcripts, None)
        ):  # both files are read in parallel, neither is held in memory
            at, text = following
        if beside is None:
            yield row
        elif at == number - 1:
            yield row | {"text": text if beside.suffix == ".wrd" else text.replace(" ", "").replace("|", " ").strip()}
        else:
            faults.report(f"{beside}, line {number - 1}: has no transcript of '{name}' ({path.name}, line {number}).")
    for at in (at for at, _ in transcripts if at >= number):
        faults.report(f"{beside}, line {at}: has a transcript but no recording in {path.name}.")


def _beside(path: Path) -> Path | None:
    """The transcripts of a manifest; None if there are none."""
    stem = path.with_suffix("") if path.suffix == ".gz" else path
    return next((p for p in (stem.with_suffix(".wrd"), stem.with_suffix(".ltr")) if p.exists()), None)
