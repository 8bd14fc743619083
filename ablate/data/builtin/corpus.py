"""The built-in corpus: the tables of the small world, spoken by eSpeak NG (see `ablate.data.builtin.world` for what it
is).

Rules behind its numbers:

- A sentence belongs to train, dev or test by a hash of the world's seed and the sentence. A row goes to a split only if
  all its sentences belong there. So no sentence of a test split is in any dev or train split, and none of a dev
  split in any train split, over all tables, stories and hypotheses included. Every split is drawn independently (see
  `ablate.data.builtin.sample`): more rows of one split change neither its earlier rows nor any other split.
- `asr.test_unseen` has the sentences of `asr.test` in voices that occur nowhere else, so that the two differ only in
  voice; the test splits of asr, translation and retrieval share utterances, and so do their dev splits.
- Voices: unlabelled speech and pairs use the first `speech_voices` voices. These are divided, permanently, into some
  that may be labelled and others that may be tested: labelled speech uses the first `label_voices` of the former, dev
  and test the first `test_voices` of the latter. So a labelled voice is never tested, whatever the number of voices.
  What unlabelled speech can teach here is speaker invariance.
- Labels of asr, sentiment and sentence_pair use only the common words (`coverage` of each word class); everything else
  uses all words. Evaluation draws from all words, so part of the test words occur only in unlabelled data.
- Transcripts are labels: a row that trains on pairs has seen their transcripts, `asr.train` has not. With `asr_pairs`
  the fine-tuning labels contain the pairs, which is the fair comparison for alignment losses.
- A smaller label budget is the beginning of a larger one.

`python -m ablate.data.builtin --audit [--no-hours] [field=value ...]` prints what a corpus would contain.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from ablate.data.builtin import espeak, items
from ablate.data.builtin.espeak import UNSEEN_VOICES, VOICES
from ablate.data.builtin.sample import LABEL_VOICES, Entry, Sample
from ablate.data.corpus import CorpusConfig, RecordingsConfig, Split, SplitConfig
from ablate.data.recordings import Recordings, RecordingsWriter
from ablate.data.table import FRAME, Example, TableWriter
from ablate.errors import UserError
from encoders.ranges import Natural, PositiveShare, Size, Within

RECIPE = 3  # version of the world: of how its samples are drawn and spoken


@dataclass(frozen=True, kw_only=True)
class BuiltinSpeech(RecordingsConfig):
    """A sample as synthesised speech."""

    tag: ClassVar[str] = "builtin_speech"
    recipe: ClassVar[int] = RECIPE

    sample: Sample

    def write(self, run: Any) -> dict[str, Any]:
        """Synthesise the utterances; beside their frames, `phones.jsonl` has one line with the phones of each."""
        said = [entry.said for entry in self.sample.entries()]
        processes = len(os.sched_getaffinity(0))
        run.progress(0, len(said), unit="utterances")
        with RecordingsWriter(run.files) as writer, open(run.files / "phones.jsonl", "w", encoding="utf-8") as file:
            for done, (mel_FM, phones) in enumerate(espeak.speak(said, processes, run.check), 1):
                writer.add(mel_FM)
                file.write(json.dumps(phones) + "\n")
                run.progress(done, len(said), unit="utterances")
        return {"recordings": len(writer), "hours": round(writer.frames * FRAME / 3600, 4)}


@dataclass(frozen=True, kw_only=True)
class BuiltinSplit(SplitConfig):
    """One split of one table: its sample and, if asr.train contains the pairs too, theirs."""

    tag: ClassVar[str] = "builtin_split"
    recipe: ClassVar[int] = RECIPE

    table: str
    split: str
    sample: Sample
    pairs: Sample | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        return (self.sample,) if self.pairs is None else (self.sample, self.pairs)

    def write(self, run: Any, recordings: Sequence[Any]) -> dict[str, Any]:
        """Write the rows; spoken ones refer to `recordings`, one folder for each sample."""
        total = sum(sample.rows for sample in self.samples)
        with TableWriter(run.files, [source.id for source in recordings]) as writer:
            for which, sample in enumerate(self.samples):
                spoken = _Spoken(recordings[which].files) if sample.voices else None
                for place, entry in enumerate(sample.entries()):
                    run.check()
                    row = entry.row_of(self.table)
                    if spoken is None:
                        writer.add(row)
                    else:
                        frames, phones = spoken[place]
                        writer.add(row | {"phones": phones}, recording=(which, place), frames=frames)
                    run.progress(len(writer), total, unit="rows")
        return {"rows": len(writer), "hours": writer.hours, "left_out": {}}

    def clusters(self, rows: Sequence[Example]) -> list[dict[str, str]]:
        """By voice, and by the template or relation that each row was drawn with: the world is drawn again."""
        shared = {entry.row["id"]: entry.shared for sample in self.samples for entry in sample.entries()}
        return [own | shared[row["id"]] for own, row in zip(super().clusters(rows), rows, strict=True)]


class _Spoken:
    """The parts of rows that come from their recordings: number of frames, and phones."""

    def __init__(self, folder: Path) -> None:
        self._frames = np.diff(Recordings(folder).starts)
        self._phones = (folder / "phones.jsonl").read_bytes().splitlines()

    def __getitem__(self, place: int) -> tuple[int, list[list[Any]]]:
        return int(self._frames[place]), json.loads(self._phones[place])


@dataclass(frozen=True, kw_only=True)
class BuiltinConfig(CorpusConfig):
    """The built-in corpus. Counts are rows; those of train splits are label or data budgets."""

    tag: ClassVar[str] = "builtin"
    counts: ClassVar[tuple[str, ...]] = (
        *("speech", "text", "pairs", "asr", "translation", "sentiment", "sentence_pair", "normalization"),
        *("dev", "test", "retrieval", "text_dev", "text_test"),
    )

    seed: Natural = 0
    """Seed of the world: its common words, its sentences, and how they are spoken."""
    coverage: Annotated[float, Within(0.2, 1)] = 0.6
    """Share of each open word class that labelled sentences use: the common words."""
    rare: PositiveShare = 0.35
    """Relative frequency of the other words, against 1 for a common one; tests of sentence_pair draw all equally."""
    speech: Size = 2400
    """Unlabelled utterances."""
    text: Size = 12000
    """Number of unlabelled stories of two or three sentences."""
    pairs: Size = 900
    """Number of utterances with their transcripts, for pre-training."""
    asr: Size = 300
    """Number of labelled utterances for recognition."""
    asr_pairs: bool = False
    """Whether asr.train also contains the pairs."""
    translation: Size = 900
    """Number of utterances with German translations."""
    sentiment: Size = 300
    """Labelled reviews."""
    sentence_pair: Size = 3000
    """Number of labelled pairs of sentences."""
    normalization: Size = 500
    """Number of written sentences with their spoken forms."""
    dev: Size = 100
    """Rows of each spoken dev split."""
    test: Size = 200
    """Rows of asr.test, asr.test_unseen and translation.test."""
    retrieval: Size = 300
    """Rows of retrieval.test; the first ones are those of asr.test."""
    text_dev: Size = 200
    """Rows of each dev split without speech."""
    text_test: Size = 1000
    """Rows of each test split without speech."""
    speech_voices: Annotated[int, Within(2)] = 24
    """Number of voices in unlabelled speech and pairs; of 24, labelled speech may use 10, and dev and test the other
    14."""
    label_voices: Size = 2
    """Number of voices in labelled speech."""
    test_voices: Size = 8
    """Number of voices in dev and test: they occur in unlabelled speech and pairs, but are never labelled."""
    unseen_voices: Size = 6
    """Number of voices in asr.test_unseen."""
    rate_low: Annotated[int, Within(80, 450)] = 200
    """Slowest speech, in words a minute."""
    rate_high: Annotated[int, Within(80, 450)] = 240
    """Fastest speech, in words a minute."""
    pitch_low: Annotated[int, Within(0, 99)] = 40
    """Lowest pitch, from 0 to 99."""
    pitch_high: Annotated[int, Within(0, 99)] = 60
    """Highest pitch, from 0 to 99."""
    snr_low: Annotated[float, Within(-20)] = 25.0
    """Lowest signal-to-noise ratio in dB."""
    snr_high: float = 40.0
    """Highest signal-to-noise ratio in dB."""

    def resolved(self) -> BuiltinConfig:
        """Check the settings and that eSpeak NG is installed, and return this config. Raises UserError."""
        labelled = sum(voice in LABEL_VOICES for voice in VOICES[: self.speech_voices])
        for name, low, high in (
            ("speech_voices", 2, len(VOICES)),
            ("unseen_voices", 1, len(UNSEEN_VOICES)),
            ("label_voices", 1, labelled),
            ("test_voices", 1, self.speech_voices - labelled),
            ("rate_low", 80, self.rate_high),
            ("pitch_low", 0, self.pitch_high),
            ("snr_low", -20, self.snr_high),
        ):
            if not low <= getattr(self, name) <= high:
                raise UserError(f"data.{name} is {getattr(self, name)}, expected {low} to {high}; change it.")
        espeak.require()
        return self

    def tables(self) -> dict[str, tuple[str, ...]]:
        return items.TABLES

    def columns(self, table: str) -> tuple[str, ...]:
        return items.COLUMNS[table]

    def split(self, table: str, split: str) -> Split:
        kind = split.removesuffix("_unseen")
        if table in ("asr", "translation", "retrieval") and split != "train":  # spoken tasks share utterances
            rows = self.dev if split == "dev" else self.retrieval if table == "retrieval" else self.test
            sample = self._sample(split, rows, self.unseen_voices if split != kind else self.test_voices)
        elif table in ("asr", "translation"):
            sample = self._sample(f"{table}.train", getattr(self, table), self.label_voices)
        elif table in ("speech", "pairs"):
            rows = getattr(self, table) if split == "train" else self.dev
            sample = self._sample(f"{table}.{split}", rows, self.speech_voices)
        else:
            rows = {"train": getattr(self, table), "dev": self.text_dev, "test": self.text_test}[split]
            sample = self._sample(f"{table}.{split}", rows)
        pairs = (
            self.split("pairs", "train").config.sample
            if (table, split) == ("asr", "train") and self.asr_pairs
            else None
        )
        config = BuiltinSplit(table=table, split=split, sample=sample, pairs=pairs)
        words = [
            [own.name, own.rows, own.seed, own.coverage, own.rare] for own in config.samples
        ]  # settings that decide what is said, not how it is spoken
        texts = {"": json.dumps([RECIPE, table, split, *words])}
        spoken = tuple(BuiltinSpeech(sample=self._whole(own)) for own in config.samples if own.voices)
        return Split(config, spoken, texts=texts, rows=sum(own.rows for own in config.samples))

    def _sample(self, name: str, rows: int, voices: int | None = None) -> Sample:
        """A sample with only the settings that its rows depend on."""
        labels = name in ("asr.train", "sentiment.train", "sentence_pair.train")
        spoken = () if voices is None else ("rate_low", "rate_high", "pitch_low", "pitch_high", "snr_low", "snr_high")
        words = ("coverage",) if labels else () if name.startswith("sentence_pair") else ("coverage", "rare")
        return Sample(
            name=name, rows=rows, voices=voices, seed=self.seed, **{n: getattr(self, n) for n in (*words, *spoken)}
        )

    def _whole(self, sample: Sample) -> Sample:
        """The sample with the largest number of rows that any table takes of it, so that it is spoken once."""
        return replace(sample, rows=max(self.test, self.retrieval)) if sample.name == "test" else sample

    def entries(self) -> Iterator[Entry]:
        """Draw every row of every table, for an audit; nothing is spoken."""
        splits = [self.split(table, split).config for table, splits in self.tables().items() for split in splits]
        samples = {sample.name: self._whole(sample) for config in splits for sample in config.samples}
        for name, sample in samples.items():
            held = [(config, own.rows) for config in splits for own in config.samples if own.name == name]
            for number, entry in enumerate(sample.entries()):
                places = tuple((config.table, config.split) for config, rows in held if number < rows)
                yield replace(entry, places=places)
