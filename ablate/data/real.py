"""The corpus stage on real corpora: the same tables as the built-in world, read from the corpora's own layouts.

What differs from the built-in world, and matters when reading results:

- All text is lower case, written text too. Punctuation is kept where the corpus has it.
- `asr.test` is LibriSpeech's test-clean and `asr.test_unseen` its test-other: all their voices are unseen in training.
- GLUE publishes no labels for its test sets: "test" is GLUE's dev, and "dev" is held out of GLUE's train. SST-2's train
  holds phrases of the same sentences, so that dev is easier than test.
- A CoVoST folder without a test file gives its dev as "test", and "dev" is held out of its train.
- Pre-training text holds no line that a dev or test split of any table has as its text; text-only tables never share
  a text between splits. What that and the length limit leave out is counted in corpus.json, under "audit".
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ablate.data import audio, readers
from ablate.data.parallel import ordered
from ablate.data.table import FRAME, CorpusConfig, TableWriter, write_corpus
from ablate.errors import UserError, nearest
from encoders import frontend, seeds

SHORTEST = 0.1  # seconds; a recording shorter than this is a fault of cutting, and leaves no positions to predict
TOKENIZER_FIELDS = ("text.text", "pairs.text", "normalization.written", "sentiment.text", "sentence_pair.text")
EVALUATED = ("dev", "test", "test_unseen", "test_mismatched")

_TEXTS = ("text", "text_b", "translation", "written", "spoken")
_MANIFESTS = (".tsv", ".txt", ".csv")
_HASHED = 1 << 24  # bytes; manifests up to this size are hashed whole, larger ones by name and size

Item = tuple[str, str, dict[str, Any]]  # table, split, row; a spoken row has the "path" of its recording


@dataclass(frozen=True, kw_only=True)
class RealConfig(CorpusConfig):
    """Real corpora under one folder. All paths are relative to it; an empty one leaves its tables out.

    `resolved()` checks the folder and fills `fingerprint`, so identity follows the data and not where it lies.
    """

    recipe: ClassVar[int] = 1
    how: ClassVar[tuple[str, ...]] = ("root",)

    root: str = ""
    """Folder that holds the corpora; no part of identity."""
    fingerprint: str = ""
    """Hash of the files used; filled by `resolved`."""
    speech: tuple[str, ...] = ("LibriSpeech/train-clean", "LibriSpeech/train-lj")
    """LibriSpeech subsets that give unlabelled speech."""
    pairs: tuple[str, ...] = ("LibriSpeech/train-clean",)
    """LibriSpeech subsets that give pairs for pre-training."""
    asr: tuple[str, ...] = ("LibriSpeech/train-clean", "LibriSpeech/train-lj")
    """LibriSpeech subsets that train recognition."""
    dev: str = "LibriSpeech/dev-clean"
    """LibriSpeech subset for "dev" of speech, pairs, asr and retrieval."""
    test: str = "LibriSpeech/test-clean"
    """LibriSpeech subset for "test" of asr and retrieval."""
    test_unseen: str = "LibriSpeech/test-other"
    """LibriSpeech subset for "test_unseen" of asr."""
    text: tuple[str, ...] = ("text/librispeech_lm.txt",)
    """Plain text files (.txt or .gz), one text a line."""
    translation: str = "covost_qu_es"
    """Folder in the layout of CoVoST 2."""
    source: str = "qu"
    """Language spoken in `translation`."""
    target: str = "es"
    """Language that `translation` is into."""
    sentiment: str = "glue/SST-2"
    """Folder of a GLUE task of single sentences."""
    sentence_pair: str = "glue/RTE"
    """Folder of a GLUE task of sentence pairs."""
    glue: tuple[str, ...] = ()
    """Folders of further GLUE tasks: a table each, called as the folder in small letters, "glue/SST-2" is sst2."""
    normalization: str = "text_normalization"
    """Folder with train.tsv, dev.tsv and test.tsv of written and spoken text."""
    digits: str = "common_voice_digits/en"
    """Folder in the layout of Common Voice."""
    labels: int = 5000
    """Most training rows of sentiment, sentence_pair and the tasks of `glue`."""
    held_out: int = 500
    """Most rows held out of train as "dev" where a corpus has none; a tenth of its rows if that is fewer."""
    max_seconds: float = 20.0
    """Recordings longer than this are left out of supervised training; dev and test are always whole."""

    def resolved(self) -> RealConfig:
        """Check that the data is there, and return this config with its fingerprint. Raises UserError."""
        self.validate()
        return dataclasses.replace(self, fingerprint=fingerprint(Path(self.root), self._sources()))

    def validate(self) -> None:
        """Raise one UserError that names everything missing under `root`, or a setting that cannot work."""
        if not self.root:
            raise UserError("data.root is not set, expected the folder that holds the corpora; add data.root=PATH.")
        root = Path(self.root)
        if not root.is_dir():
            raise UserError(f"data.root is '{self.root}', which is no folder; set it to where the corpora are.")
        missing = [f"data.{field} ({path})" for field, path in self._sources() if not (root / path).exists()]
        if missing:
            raise UserError(
                f"data.root '{self.root}' lacks {', '.join(missing)}; add the files, set the right relative path, "
                "or leave a corpus out by setting its path to ''."
            )
        for folder in self.glue:
            if Path(folder).name not in readers.GLUE:
                raise UserError(f"data.glue has '{folder}', whose last part names no GLUE task: "
                                f"{nearest(Path(folder).name, readers.GLUE)}")  # fmt: skip
        for field, pairs in (("sentiment", False), ("sentence_pair", True)):
            folder = getattr(self, field)
            valid = [n for n, task in readers.GLUE.items() if task.classes and (task.text_b is not None) == pairs]
            if folder and Path(folder).name not in valid:
                raise UserError(f"data.{field} is '{folder}', whose last part names no fitting GLUE task: "
                                f"{nearest(Path(folder).name, valid)}")  # fmt: skip

    def prepare(self, run: Any) -> dict[str, Any]:
        """Write all tables and corpus.json into the run folder; features are made by all cores."""
        self.validate()
        if self.fingerprint and self.fingerprint != fingerprint(Path(self.root), self._sources()):
            raise UserError(f"Data under '{self.root}' changed after this sweep was planned; run the command again.")
        items, left_out = self._without_leaks(list(self._items(Path(self.root))))
        spoken: dict[Path, list[Item]] = {}
        counts: Counter[str] = Counter()
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(TableWriter(run.path, *name)) for name in sorted({i[:2] for i in items})
            }
            for table, split, row in items:
                if "path" in row:
                    spoken.setdefault(row.pop("path"), []).append((table, split, row))
                else:
                    writers[table, split].add(row)
                    counts[f"{table}.{split}"] += 1
            for step, (path, mel_FM) in enumerate(zip(spoken, ordered(features, list(spoken))), 1):
                for table, split, row in spoken[path]:
                    if reason := self._unusable(table, split, row, len(mel_FM) * FRAME):
                        left_out[f"{table}.{split}: {reason}"] += 1
                    else:
                        writers[table, split].add(row, mel_FM)
                        counts[f"{table}.{split}"] += 1
                run.progress(step, len(spoken), unit="recordings")
                run.check()
        for name in (f"{table}.{split}" for table, split in writers):
            if not counts[name]:
                why = ", ".join(f"{n} × {w}" for w, n in left_out.items() if w.startswith(f"{name}:"))
                raise UserError(f"No row of {name} can be used ({why or 'its files are empty'}); see data.max_seconds.")
        tables = {table for table, _ in writers}
        further = [f"{table}.text" for table in self._glue() if f"{table}.text" not in TOKENIZER_FIELDS]
        fields = [field for field in (*TOKENIZER_FIELDS, *further) if field.partition(".")[0] in tables]
        audit = {"left_out": dict(sorted(left_out.items())), "voices_in_train_and_test": self._shared_voices(items)}
        return write_corpus(run, audit, fields)

    def _sources(self) -> list[tuple[str, str]]:
        """Every file and folder used, as (field, path relative to root)."""
        sources = [(field, path) for field in ("speech", "pairs", "asr", "text") for path in getattr(self, field)]
        if self.speech or self.pairs or self.asr:
            sources += [("dev", self.dev)]
        if self.asr:
            sources += [("test", self.test), ("test_unseen", self.test_unseen)]
        if self.translation:
            names = [f"covost_v2.{self.source}_{self.target}.{split}.tsv" for split in ("train", "dev")]
            sources += [("translation", f"{self.translation}/{name}") for name in (*names, f"{self.source}/clips")]
        for table, folder in self._glue().items():
            sources += [(table, f"{folder}/{split}.tsv") for split in ("train", *_glue_tests(folder).values())]
        if self.normalization:
            sources += [("normalization", f"{self.normalization}/{split}.tsv") for split in ("train", "dev", "test")]
        if self.digits:
            parts = ("train.tsv", "dev.tsv", "test.tsv", "clips")
            sources += [("digits", f"{self.digits}/{part}") for part in parts]
        return sources

    def _items(self, root: Path) -> Iterator[Item]:
        """Read every source, evaluated splits included, in a fixed order."""
        for table in ("speech", "pairs", "asr"):
            for subset in getattr(self, table):
                yield from _rows(table, "train", _librispeech(root, subset))
            if getattr(self, table):
                yield from _rows(table, "dev", _librispeech(root, self.dev))
        if self.asr:
            yield from _rows("asr", "test", _librispeech(root, self.test))
            yield from _rows("asr", "test_unseen", _librispeech(root, self.test_unseen))
            for split, subset in (("dev", self.dev), ("test", self.test)):
                yield from _rows("retrieval", split, _librispeech(root, subset))
        if self.translation:
            yield from self._translation(root / self.translation)
        if self.digits:
            for split in ("train", "dev", "test"):
                yield from _rows("digits", split, readers.common_voice(root / self.digits, split))
        if self.text:
            lines = [
                {**row, "id": f"{Path(path).name}-{row['id']}"}
                for path in self.text
                for row in readers.text_lines(root / path)
            ]
            yield from self._held_out("text", lines)
        for table, folder in self._glue().items():
            where = (root / folder).parent, Path(folder).name
            yield from self._held_out(table, readers.glue(*where, "train"), self.labels)
            for split, file in _glue_tests(folder).items():
                yield from _rows(table, split, readers.glue(*where, file))
        if self.normalization:
            for split in ("train", "dev", "test"):
                rows = readers.normalization_tsv(root / self.normalization / f"{split}.tsv")
                yield from _rows("normalization", split, ({**r, "id": f"{split}-{r['id']}"} for r in rows))

    def _glue(self) -> dict[str, str]:
        """Folders of GLUE tasks by the table they make."""
        named = {"sentiment": self.sentiment, "sentence_pair": self.sentence_pair}
        further = {Path(folder).name.lower().replace("-", ""): folder for folder in self.glue}
        return {table: folder for table, folder in (named | further).items() if folder}

    def _translation(self, folder: Path) -> Iterator[Item]:
        def read(split: str) -> Iterator[readers.Row]:
            return readers.covost(folder, self.source, self.target, split)

        if (folder / f"covost_v2.{self.source}_{self.target}.test.tsv").exists():
            for split in ("train", "dev", "test"):
                yield from _rows("translation", split, read(split))
        else:
            yield from self._held_out("translation", read("train"))
            yield from _rows("translation", "test", read("dev"))

    def _held_out(self, table: str, rows: Iterable[readers.Row], most: int | None = None) -> Iterator[Item]:
        """Hold "dev" out of `rows`, drawn by the table's name alone, and give the rest (or `most` of it) as "train"."""
        drawn = list(rows)
        order = seeds.rng(seeds.key(0, f"held out/{table}")).permutation(len(drawn))
        count = min(self.held_out, max(1, len(drawn) // 10))
        yield from _rows(table, "dev", (drawn[i] for i in order[:count]))
        yield from _rows(table, "train", (drawn[i] for i in order[count:][:most]))

    def _without_leaks(self, items: list[Item]) -> tuple[list[Item], Counter[str]]:
        """Drop text-only rows whose text an evaluated split has too, and count them."""
        evaluated: dict[str, dict[Any, str]] = {}
        for table, split, row in items:
            if split in EVALUATED:
                # Where dev and test share a text, test keeps it.
                evaluated.setdefault(table, {})[_content(row)] = split
                if "text" in row and "text_b" not in row:
                    evaluated.setdefault("text", {}).setdefault(_content(row), f"{table}.{split}")
        kept, left_out = [], Counter()
        for table, split, row in items:
            holder = evaluated.get(table, {}).get(_content(row), split) if "path" not in row else split
            if holder == split or table == "text" and split in EVALUATED:
                kept.append((table, split, row))
            else:
                left_out[f"{table}.{split}: the same text is in {holder}"] += 1
        return kept, left_out

    def _unusable(self, table: str, split: str, row: dict[str, Any], seconds: float) -> str:
        """Say why a recording cannot be used here, or ''."""
        if seconds < SHORTEST:
            return f"shorter than {SHORTEST} s"
        if not row["text"] or not row.get("translation", "x"):
            return "no text"
        # Streams of pre-training crop or leave out by limits of their own.
        if split == "train" and table not in ("speech", "pairs") and seconds > self.max_seconds:
            return f"longer than {self.max_seconds:g} s"
        return ""

    @staticmethod
    def _shared_voices(items: Iterable[Item]) -> dict[str, int]:
        """Count per spoken table the voices that are heard both in train and in a test split."""
        voices: dict[str, dict[bool, set[str]]] = {}
        for table, split, row in items:
            if "voice" in row and split != "dev":
                voices.setdefault(table, {True: set(), False: set()})[split == "train"].add(row["voice"])
        return {table: len(sides[True] & sides[False]) for table, sides in sorted(voices.items())}


def fingerprint(root: Path, sources: Sequence[tuple[str, str]]) -> str:
    """Hash the used files: names relative to `root`, sizes, and the content of manifests and small texts."""
    digest = hashlib.sha256()
    for relative in sorted({path for _, path in sources}):
        top = root / relative
        below = (Path(folder, name) for folder, _, names in os.walk(top, followlinks=True) for name in names)
        for path in [top] if top.is_file() else sorted(below):
            size = path.stat().st_size
            digest.update(f"{path.relative_to(root).as_posix()}\t{size}\n".encode())
            if path.suffix in _MANIFESTS and size <= _HASHED:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def features(path: Path) -> np.ndarray:
    """Read a recording and return its normalised log-mel frames, float16 [F, 80]. Raises UserError naming the file."""
    wave = torch.from_numpy(audio.read(path))
    return frontend.normalise(frontend.log_mel(wave)).numpy().astype(np.float16)


def _librispeech(root: Path, subset: str) -> Iterator[readers.Row]:
    folder = root / subset
    return readers.librispeech(folder.parent, folder.name)


def _glue_tests(folder: str) -> dict[str, str]:
    """The files of a GLUE task that are our tests, by split."""
    mnli = {"test": "dev_matched", "test_mismatched": "dev_mismatched"}
    return mnli if Path(folder).name == "MNLI" else {"test": "dev"}


def _rows(table: str, split: str, rows: Iterable[readers.Row]) -> Iterator[Item]:
    """Label rows with their place, their texts lower-cased and with single spaces."""
    for row in rows:
        texts = {field: " ".join(row[field].lower().split()) for field in _TEXTS if field in row}
        yield table, split, row | texts


def _content(row: dict[str, Any]) -> tuple[str, ...]:
    """What must not be in two splits: a row's source texts."""
    return tuple(row[field] for field in ("text", "text_b", "written") if field in row)
