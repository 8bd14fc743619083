"""The corpus stage on real corpora: the same tables as the built-in world, read from the corpora's own layouts.

What differs from the built-in world, and matters when reading results:

- All text is lower case (unless `lower` is off), written text too. Punctuation is kept where the corpus has it.
- `asr.test` is LibriSpeech's test-clean and `asr.test_unseen` its test-other: all their voices are unseen in training.
- GLUE publishes no labels for its test sets: "test" is GLUE's dev (of MNLI the matched one; "test_mismatched" is the
  other), and "dev" is held out of GLUE's train. SST-2's train holds phrases of the same sentences, so that dev is easier.
- A CoVoST folder without a test file gives its dev as "test", and "dev" is held out of its train.
- Pre-training text holds no line that a dev or test split of any table has as its text; text-only tables never share
  a text between splits. What that and the length limit leave out is counted in corpus.json, under "audit".
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, tee
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from ablate import identity
from ablate.data import audio, readers
from ablate.data.audio import Recording
from ablate.data.lines import Faults
from ablate.data.parallel import ordered
from ablate.data.readers import Row
from ablate.data.scan import Kept, fingerprint, told
from ablate.data.sources import paths, sources, table_of, tables
from ablate.data.split import Splits
from ablate.data.table import FRAME, CorpusConfig, TableWriter, write_corpus
from ablate.errors import UserError, nearest
from encoders.frontend import NORMALISATIONS

T = TypeVar("T")

SHORTEST = 0.1  # seconds; a recording shorter than this is a fault of cutting, and leaves no positions to predict
TOKENIZER_FIELDS = ("text.text", "pairs.text", "normalization.written", "sentiment.text", "sentence_pair.text")
TRANSCRIBED = ("asr", "speechstew", "digits", "translation")  # whose transcripts a tokenizer learns from where there is no text
UNLABELLED = ("speech", "pairs")  # streams of pre-training crop or leave out by limits of their own


@dataclass(frozen=True, kw_only=True)
class RealConfig(CorpusConfig):
    """Real corpora under one folder. All paths are relative to it (or absolute); an empty one leaves its tables out.

    A source of speech is a folder or manifest in any layout that `ablate.data.spoken` knows. `resolved()` checks the
    folder and fills `fingerprint`, so identity follows the data and not where it lies.
    """

    recipe: ClassVar[int] = 2
    how: ClassVar[tuple[str, ...]] = ("root", "features", "on_error", "most_skipped")

    root: str = ""
    """Folder that holds the corpora; no part of identity."""
    features: str = "stored"
    """"stored": log-mel is written once, 58 MB an hour; "read": recordings are opened when they are needed, by worker
    processes, for corpora larger than the disk. Results are the same."""
    on_error: str = "stop"
    """"stop" at the first row or recording that cannot be used; or "skip" and list them, after reading all recordings
    once before anything else. What is skipped is part of identity."""
    most_skipped: int = 100
    """Rows and recordings that "skip" may skip; more are an error."""
    fingerprint: str = ""
    """Hash of the files used, and of what is skipped; filled by `resolved`."""
    speech: tuple[str, ...] = ("LibriSpeech/train-clean", "LibriSpeech/train-lj")
    """Sources that give unlabelled speech."""
    pairs: tuple[str, ...] = ("LibriSpeech/train-clean",)
    """Sources that give pairs for pre-training."""
    asr: tuple[str, ...] = ("LibriSpeech/train-clean", "LibriSpeech/train-lj")
    """Sources that train recognition."""
    dev: str = "LibriSpeech/dev-clean"
    """Source of "dev" of speech, pairs, asr, speechstew and retrieval."""
    test: str = "LibriSpeech/test-clean"
    """Source of "test" of asr and retrieval."""
    test_unseen: str = "LibriSpeech/test-other"
    """Source of "test_unseen" of asr."""
    speechstew: tuple[str, ...] = ()
    """Sources that are mixed to train recognition of several corpora."""
    speechstew_tests: dict[str, str] = field(default_factory=dict)
    """Sources by name, each the split "test_NAME" of speechstew."""
    text: tuple[str, ...] = ("text/librispeech_lm.txt",)
    """Texts, one a line (.txt), or one a record with "text" (.jsonl); either also as .gz."""
    translation: str = "covost_qu_es"
    """Folder in the layout of CoVoST 2."""
    directions: tuple[str, ...] = ("qu_es",)
    """Directions of translation, as "SOURCE_TARGET"; rows name theirs, and of several each is a split "test_DIRECTION" too."""
    sentiment: str = "glue/SST-2"
    """Folder of a GLUE task of single sentences."""
    sentence_pair: str = "glue/RTE"
    """Folder of a GLUE task of sentence pairs."""
    glue: tuple[str, ...] = ()
    """Folders of GLUE tasks that are tables by their own names: cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb."""
    normalization: str = "text_normalization"
    """Folder of written and spoken text: train.tsv, dev.tsv and test.tsv, or Google's output-*-of-*."""
    digits: str = "common_voice_digits/en"
    """Folder in the layout of Common Voice."""
    labels: int = 5000
    """Most training rows of sentiment and sentence_pair."""
    held_out: int = 500
    """Most rows held out of train as "dev" where a corpus has none; a tenth of its rows if that is fewer."""
    normalisation: str = "bins"
    """Of log-mel: "bins", each mel bin to mean 0 and variance 1 over a recording; "level", to mean 0 alone, from the
    loudest down to 50 dB below it: better for recordings of less than 16 kHz; or "speaker", the same but to mean 0 over all
    of a speaker's recordings in a split (Kaldi's way), which leaves a short one what makes its word."""
    lower: bool = True
    """Whether all text is made lower case."""
    max_seconds: float = 20.0
    """Recordings longer than this are left out of supervised training; dev and test are always whole."""

    def resolved(self) -> RealConfig:
        """Check that the data is there, and return this config with its fingerprint. Raises UserError.

        Where faults are skipped, everything is read to find them, unless that was done before for the same data.
        """
        self.validate()
        files = fingerprint(Path(self.root), [path for _, path in paths(self)])
        found = dataclasses.replace(self, fingerprint=files)
        skipped = found.skipped() if self.on_error == "skip" else []
        if skipped:
            print(f"data: {len(skipped)} rows or recordings are skipped; the first: {skipped[0]}", file=sys.stderr)
            digest = hashlib.sha256("\n".join(skipped).encode()).hexdigest()
            found = dataclasses.replace(found, fingerprint=f"{files}-{digest[:8]}")
        return found

    def tables(self) -> dict[str, set[str]]:
        return tables(sources(self))

    def skipped(self) -> list[str]:
        """List every row and recording that cannot be used, found by reading all of them; kept by what the data is."""

        def look() -> list[str]:
            faults = self._faults()
            rows = ((row, ()) for source in sources(self) for row in source.read(faults))
            for _, heard in told(_heard(audio.frames, rows), "Scanning", "rows"):
                if isinstance(heard, str):
                    faults.found(heard)
            return sorted(set(faults.skipped))

        what = dataclasses.replace(self, fingerprint=self.fingerprint.partition("-")[0])
        return Kept("skipped").of(json.dumps([identity.canonical(what), self.most_skipped], sort_keys=True), look)

    def validate(self) -> None:
        """Raise one UserError that names everything missing under `root`, or a setting that cannot work."""
        if not self.root:
            raise UserError("data.root is not set, expected the folder that holds the corpora; add data.root=PATH.")
        root = Path(self.root)
        if not root.is_dir():
            raise UserError(f"data.root is '{self.root}', which is no folder; set it to where the corpora are.")
        for name, valid in (("features", ("stored", "read")), ("on_error", ("stop", "skip")),
                            ("normalisation", tuple(NORMALISATIONS))):  # fmt: skip
            if getattr(self, name) not in valid:
                raise UserError(f"data.{name} is '{getattr(self, name)}': {nearest(getattr(self, name), valid)}")
        missing = [f"data.{field} ({path})" for field, path in paths(self) if not (root / path).exists()]
        if missing:
            raise UserError(
                f"data.root '{self.root}' lacks {', '.join(missing)}; add the files, set the right relative path, "
                "or leave a corpus out by setting its path to ''."
            )
        for name, made in (("directions", self.directions), ("glue", [table_of(folder) for folder in self.glue])):
            if twice := [one for one, n in Counter(made).items() if n > 1]:
                raise UserError(f"data.{name} has '{twice[0]}' twice, which would be trained and scored on twice; remove one.")
        folders = [(folder, None, "glue") for folder in self.glue]
        for folder, pairs, name in ((self.sentiment, False, "sentiment"), (self.sentence_pair, True, "sentence_pair"), *folders):
            valid = [n for n, task in readers.GLUE.items()
                     if pairs is None or task.classes and (task.text_b is not None) == pairs]  # fmt: skip
            if folder and Path(folder).name not in valid:
                raise UserError(f"data.{name} has '{folder}', whose last part names no fitting GLUE task: "
                                f"{nearest(Path(folder).name, valid)}")  # fmt: skip

    def prepare(self, run: Any) -> dict[str, Any]:
        """Write all tables and corpus.json into the run folder; recordings are read by all cores."""
        self.validate()
        if self.fingerprint and self.fingerprint != self.resolved().fingerprint:
            raise UserError(f"Data under '{self.root}' changed after this sweep was planned; run the command again.")
        made, faults = sources(self), self._faults()
        splits = Splits(made, self._faults(), self.held_out, self.lower)
        left_out, voices, counts = splits.left_out, _Voices(), Counter[str]()
        hear = partial(audio.hear, normalisation=self.normalisation, stored=self.features == "stored")
        recordings = sum(n for n, source in zip(splits.rows, made) if source.spoken)
        total, unit = (recordings, "recordings") if recordings else (sum(splits.rows), "rows")  # texts take no time beside them
        with ExitStack() as stack:
            names = sorted((table, split) for table, splits in tables(made).items() for split in splits)
            writers = {name: stack.enter_context(TableWriter(run.files, *name)) for name in names}
            for done, ((row, places), heard) in enumerate(_heard(hear, splits.placed(made, faults)), 1):
                run.progress(min(done, total), total, unit=unit)
                run.check()
                if isinstance(heard, str):
                    faults.found(heard)
                    continue
                for table, split in places:
                    if reason := self._unusable(table, split, row, heard):
                        left_out[f"{table}.{split}: {reason}"] += 1
                    else:
                        self._write(writers[table, split], table, row, heard)
                        voices.add(table, split, row)
                        counts[f"{table}.{split}"] += 1
        skipped = sorted(set(faults.skipped))
        if self.fingerprint and self.on_error == "skip" and skipped != self.skipped():
            raise UserError(f"Recordings under '{self.root}' changed after they were scanned; delete the cache of scans.")
        for name in (f"{table}.{split}" for table, split in writers):
            if not counts[name]:
                why = ", ".join(f"{n} × {w}" for w, n in left_out.items() if w.startswith(f"{name}:"))
                raise UserError(f"No row of {name} can be used ({why or 'its files are empty'}); see data.max_seconds.")
        have = {table for table, _ in writers}
        fields = [name for name in TOKENIZER_FIELDS if name.partition(".")[0] in have]
        fields += [f"{table_of(folder)}.text" for folder in self.glue]
        fields = fields or [f"{table}.text" for table in TRANSCRIBED if table in have]
        audit = {"left_out": dict(sorted(left_out.items())), "voices_in_train_and_test": voices.shared(),
                 "skipped": skipped, "known_faults": dict(faults.known)}  # fmt: skip
        return write_corpus(run, audit, fields, root=str(Path(self.root).resolve()),
                            normalisation=self.normalisation)  # fmt: skip

    def _faults(self) -> Faults:
        return Faults(self.on_error == "skip", self.most_skipped, Path(self.root))

    def _write(self, writer: TableWriter, table: str, row: Row, heard: audio.Heard | None) -> None:
        row = dict(row)
        recording = row.pop("recording", None)
        if table == "speech":
            row.setdefault("text", "")  # a corpus may have transcripts of some recordings only
        if heard is None:
            writer.add(row)
            return
        if heard.mel_FM is None:
            row |= recording.fields(Path(self.root))
        writer.add(row, heard.mel_FM, heard.frames, heard.sum_M)

    def _unusable(self, table: str, split: str, row: Row, heard: audio.Heard | None) -> str:
        """Say why a row cannot be used in a table, or ''."""
        if heard is None:
            return ""
        seconds = heard.frames * FRAME
        if seconds < SHORTEST:
            return f"shorter than {SHORTEST} s"
        if table != "speech" and not row.get("text") or not row.get("translation", "x"):
            return "no text"
        if split == "train" and table not in UNLABELLED and seconds > self.max_seconds:
            return f"longer than {self.max_seconds:g} s"
        return ""


class _Voices:
    """Count per table the voices that are heard both in train and in a test split."""

    def __init__(self) -> None:
        self._heard: dict[str, dict[bool, set[str]]] = {}

    def add(self, table: str, split: str, row: Row) -> None:
        if "voice" in row and split != "dev":
            self._heard.setdefault(table, {True: set(), False: set()})[split == "train"].add(row["voice"])

    def shared(self) -> dict[str, int]:
        return {table: len(sides[True] & sides[False]) for table, sides in sorted(self._heard.items())}


Placed = tuple[Row, Any]


def _heard(hear: Callable[[Recording], T], placed: Iterable[Placed]) -> Iterator[tuple[Placed, T | str | None]]:
    """Yield each row with what `hear` makes of its recording, by all cores; None for texts, a message for a fault.

    Rows with recordings come first.
    """
    placed = iter(placed)
    texts: list[Placed] = []  # the first of them, where the spoken end

    def spoken() -> Iterator[Placed]:
        for one in placed:
            if "recording" not in one[0]:
                texts.append(one)
                return
            yield one

    rows, again = tee(spoken())
    yield from zip(rows, ordered(partial(_attempt, hear), (row["recording"] for row, _ in again)))
    yield from ((one, None) for one in chain(texts, placed))


def _attempt(hear: Any, recording: Recording) -> Any:
    try:
        return hear(recording)
    except UserError as error:
        return str(error)
