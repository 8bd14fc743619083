"""Read speech corpora as they are distributed; `rows` looks at a path and knows its layout.

Rows carry "id", "recording" and "voice", and "text" (a transcript as written in the corpus) where there is one. A
missing file or column raises UserError; a transcript without its recording, or a line that cannot be read, is a fault
with its file and line. Recordings that no list or transcript names do not count.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from os.path import basename, dirname, isfile, join, splitext
from pathlib import Path

from ablate.data.audio import FORMATS, Recording
from ablate.data.lines import STOP, Faults, lines, tsv
from ablate.data.real.layouts.folders import entries, folders
from ablate.data.real.layouts.lhotse import lhotse
from ablate.data.table import Example
from ablate.errors import UserError, nearest

LIMITED = {"10min": ("1h/0",), "1h": ("1h/*",), "10h": ("1h/*", "9h")}  # Libri-Light's limited supervision
LONGEST = 16.0  # seconds: Libri-Light's chapters are cut at pauses into pieces up to this long


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


def librispeech(folder: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read `SPEAKER/CHAPTER/` with its `.trans.txt` below `folder`, in order of names."""
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
        for number, line in lines(transcripts, faults):
            name, _, text = line.partition(" ")
            if name in recordings:
                yield {"id": name, "text": text.strip(), "voice": voice, "recording": Recording(recordings.pop(name))}
            else:
                faults.report(f"{transcripts}, line {number}: '{name}' has a transcript but no recording beside it.")
        for _ in recordings:  # what no transcript lists does not count
            faults.expected(f"{folder}: recordings that no transcript lists")


def limited(folder: Path, amount: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read 10 minutes, 1 hour or 10 hours of Libri-Light's `librispeech_finetuning`, each the beginning of the next.

    Its parts `1h/{0…5}/{clean,other}` and `9h/{clean,other}` are in LibriSpeech's layout. (100 hours are LibriSpeech's
    own train-clean-100.)
    """
    for pattern in LIMITED[amount]:
        parts = folders(Path(folder, *pattern.split("/")), 1) if "*" not in pattern else folders(Path(folder, "1h"), 2)
        if not parts:
            raise UserError(f"{folder}: expected Libri-Light's {pattern}/{{clean,other}}/, found none; add its files.")
        for part in parts:
            yield from librispeech(Path(part), faults)


def librilight(folder: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read Libri-Light's `SPEAKER/BOOK/CHAPTER.flac` with its .json, cut at pauses into pieces up to `LONGEST`.

    Its "voice_activity" are [start, stop] of speech in seconds; a run longer than that is cut evenly.
    """
    for path in (Path(entry.path) for chapter in folders(folder, 2) for entry in entries(chapter)):
        if path.suffix.lower() not in FORMATS:
            continue
        facts = path.with_suffix(".json")
        if not facts.exists():
            faults.report(f"{path}: has no {facts.name} beside it.")
            continue
        try:
            active = [_span(a, b) for a, b in json.loads(facts.read_text(encoding="utf-8"))["voice_activity"]]
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
                "recording": Recording(path, round(start, 3), round(stop, 3)),
            }


def _span(start: float | str, stop: float | str) -> tuple[float, float]:
    """Both in seconds; raises ValueError where the last comes before the first."""
    start, stop = float(start), float(stop)
    if not 0 <= start <= stop < math.inf:
        raise ValueError(f"{start} to {stop} s is no span")
    return start, stop


def pieces(active: Iterable[tuple[float, float]], longest: float) -> Iterator[tuple[float, float]]:
    """Join runs of speech, pauses between them included, while they fit into `longest`; cut evenly what does not."""
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


def common_voice(folder: Path, split: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read Common Voice, `folder/{split}.tsv` and `folder/clips/`."""
    table = Path(folder) / f"{split}.tsv"
    for number, row in tsv(table, ("client_id", "path", "sentence"), faults):
        clip = join(folder, "clips", row["path"])
        if _there(clip, table, number, faults):
            yield {
                "id": splitext(basename(clip))[0],
                "text": row["sentence"],
                "voice": row["client_id"],
                "recording": Recording(clip),
            }


def covost(folder: Path, source: str, target: str, split: str, faults: Faults = STOP) -> Iterator[Example]:
    """Read CoVoST 2, `folder/covost_v2.SRC_TGT.{split}.tsv` and `folder/SRC/clips/`: with "translation"."""
    table = Path(folder) / f"covost_v2.{source}_{target}.{split}.tsv"
    for number, row in tsv(table, ("path", "sentence", "translation", "client_id"), faults):
        clip = Path(folder) / source / "clips" / row["path"]
        if _there(clip, table, number, faults):
            yield {
                "id": clip.stem,
                "text": row["sentence"],
                "translation": row["translation"],
                "voice": row["client_id"],
                "recording": Recording(clip),
            }


def fairseq(path: Path, faults: Faults = STOP) -> Iterator[Example]:
    """Read fairseq's manifest: a root folder, then `path<TAB>samples` a line; transcripts beside it in .ltr or .wrd.

    Letters are parted by spaces and words by "|". There is no speaker: the voice is the recording's folder.
    """
    rows = lines(Path(path), faults)
    _, root = next(rows, (0, ""))
    beside = next((p for p in (path.with_suffix(".wrd"), path.with_suffix(".ltr")) if p.exists()), None)
    transcripts = iter(() if beside is None else lines(beside, faults))
    at, text, number = 0, "", 1
    for number, line in rows:
        name = line.split("\t")[0]
        recording = join(root, name)
        if not _there(recording, path, number, faults):
            continue
        row: Example = {"id": splitext(name)[0], "voice": dirname(name), "recording": Recording(recording)}
        while at < number - 1 and (
            following := next(transcripts, None)
        ):  # both files are read side by side, never held
            at, text = following
        if beside is None:
            yield row
        elif at == number - 1:
            yield row | {"text": text if beside.suffix == ".wrd" else text.replace(" ", "").replace("|", " ").strip()}
        else:
            faults.report(f"{beside}, line {number - 1}: has no transcript of '{name}' ({path.name}, line {number}).")
    for at in (at for at, _ in transcripts if at >= number):
        faults.report(f"{beside}, line {at}: has a transcript but no recording in {path.name}.")


Beside = dict[Path, dict[str, Path]]
"""By folder, the recordings that are in it or in a folder in it, by their names up to any dot."""


def stm(path: Path, faults: Faults = STOP, beside: Beside | None = None) -> Iterator[Example]:
    """Read NIST segments, `FILE CHANNEL SPEAKER START STOP [<LABELS>] WORDS` a line, of recordings called FILE.

    These lie beside the .stm, or in a folder beside its folder (TED-LIUM: `stm/` and `sph/`). What is to be ignored in
    scoring is left out; lines with ";;" are comments. `beside` remembers what lies there, for the next .stm.
    """
    path = Path(path)
    beside = {} if beside is None else beside
    for number, line in lines(path, faults):
        if line.startswith(";;"):
            continue
        cells = line.split(None, 5)
        try:
            name, channel, voice, start, stop = cells[0], int(cells[1]), cells[2], *_span(cells[3], cells[4])
        except (IndexError, ValueError):
            faults.report(
                f"{path}, line {number}: expected FILE CHANNEL SPEAKER START STOP WORDS, with times in seconds."
            )
            continue
        text = cells[5] if len(cells) > 5 else ""
        text = text.partition(">")[2].strip() if text.startswith("<") else text.strip()
        if text.lower() == "ignore_time_segment_in_scoring":
            continue
        for folder in (path.parent, path.parent.parent):
            if folder not in beside:
                beside[folder] = _beside(folder)
            if recording := beside[folder].get(name):
                break
        if recording is None:
            faults.report(f"{path}, line {number}: there is no recording '{name}' here or in a folder beside this one.")
            continue
        yield {
            "id": f"{name}-{channel}-{start:.2f}-{stop:.2f}",
            "text": text,
            "voice": voice,
            "recording": Recording(recording, start, stop, channel - 1),
        }


def _beside(folder: Path) -> dict[str, Path]:
    """List the recordings in and just below a folder; those in it come first."""
    recordings: dict[str, Path] = {}
    for place in (folder, *folders(folder)):
        for path in (Path(entry.path) for entry in entries(place)):
            parts = path.name.split(".")
            for end in range(1, len(parts) if path.suffix.lower() in FORMATS else 1):
                recordings.setdefault(".".join(parts[:end]), path)
    return recordings


def _there(recording: Path | str, table: Path, number: int, faults: Faults) -> bool:
    """Whether a recording exists; if not, that is a fault of the line that names it."""
    if isfile(recording):
        return True
    faults.report(f"{table}, line {number}: the recording {recording} does not exist.")
    return False
