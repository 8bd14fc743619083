"""Speech corpora as they are distributed; `rows` looks at a path and knows its layout.

Rows carry "id", "recording" and "voice", and "text" (a transcript as written in the corpus) where there is one. A
missing file or column raises UserError; a transcript without its recording, or a line that cannot be read, is a fault
with its file and line. Recordings that no list or transcript names do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ablate.data.lines import STOP, Faults, lines
from ablate.data.real.layouts.common_voice import common_voice
from ablate.data.real.layouts.fairseq import fairseq
from ablate.data.real.layouts.folders import entries, folders
from ablate.data.real.layouts.lhotse import lhotse
from ablate.data.real.layouts.librilight import librilight
from ablate.data.real.layouts.librispeech import librispeech
from ablate.data.real.layouts.limited import LIMITED, limited
from ablate.data.real.layouts.stm import Beside, stm
from ablate.data.table import Example
from ablate.errors import UserError, nearest


def rows(source: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read the utterances of `source`, a folder or manifest of any layout; see docs/data.md.

    Raises UserError if it does not exist or is of no layout that is known.
    """
    source = Path(source)
    if source.name in LIMITED and (source.parent / "1h").is_dir():
        return limited(source.parent, source.name, faults)
    name = source.name.removesuffix(".gz")
    if not source.exists():
        siblings = sorted(p.name for p in source.parent.iterdir()) if source.parent.is_dir() else []
        raise UserError(f"{source}: there is no such file or folder; {nearest(source.name, siblings)}")
    if source.is_file():
        if name.endswith((".jsonl", ".ndjson")):
            return lhotse(source, faults)
        if name.endswith(".stm"):
            return stm(source, faults)
        if name.endswith(".tsv"):
            _, first = next(lines(source), (0, ""))
            return fairseq(source, faults) if "\t" not in first else common_voice(source.parent, source.stem, faults)
    elif paths := sorted(
        e.path for folder in (source, source / "stm") for e in entries(folder) if e.name.endswith(".stm")
    ):
        recordings: Beside = {}
        return (row for path in paths for row in stm(Path(path), faults, recordings))
    elif chapters := folders(source, 2):
        return (librilight if _librilight(chapters) else librispeech)(source, faults)
    raise UserError(
        f"{source}: is of no layout known here; expected a LibriSpeech or Libri-Light folder, a folder with .stm "
        "files, Common Voice's or fairseq's .tsv, or lhotse's cuts .jsonl.gz."
    )


def _librilight(chapters: Iterable[str]) -> bool:
    """Whether facts of recordings lie beside these, and transcripts nowhere."""
    has_facts = False
    for chapter in chapters:
        for entry in entries(chapter):
            if entry.name.endswith(".trans.txt"):
                return False
            has_facts = has_facts or entry.name.endswith(".json")
    return has_facts
