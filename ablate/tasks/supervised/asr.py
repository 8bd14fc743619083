"""Speech recognition: words from speech by CTC or a transducer, or a whole transcript among those seen in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from ablate.data import packing
from ablate.data.packing import Draws
from ablate.data.table import Example, Table
from ablate.errors import UserError
from ablate.tasks.reach import LONG, out_of_reach
from ablate.tasks.scoring import baselines, metrics
from ablate.tasks.scoring.words import unspaced
from ablate.tasks.supervised.perturbation import Perturbation
from ablate.tasks.task import AbstractTask, Baseline, Dataset, Metric, Score, TaskConfig, decoded
from ablate.training.loop import Model
from encoders.batch import Batch, View, Vocabulary
from encoders.encoding import Encoding
from encoders.ranges import Natural, NonNegative, OneOf, Size
from objectives.classification import Classification
from objectives.ctc import CTC
from objectives.objective import Ports
from objectives.transducer import Transducer

WER = Metric("wer", "lower", nothing=100.0)
CER = Metric("cer", "lower", nothing=100.0)
INSERTIONS = Metric("insertions_per_minute", "lower", "")
MINUTE = 6000  # frames
HEADS = ("ctc", "transducer", "classes")
MOST_CLASSES = 1000


class Recognition(AbstractTask):
    """Word error rate without a language model (docs/paper.md, section 4).

    With a target tokenizer of its own it may output characters. If the transcripts have no spaces between words,
    characters count as words, and the first score is the character error rate. Recordings in which nothing is said
    count by the insertions of their outputs; these are also reported per minute of such recordings.
    """

    reads = "speech"
    columns = ("text",)
    metrics = (WER, CER)
    optional = (INSERTIONS,)
    beside = ("cer",)
    choice = CER  # early in training WER says little: an empty output has few wrong words

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """Recognition of a table with audio and `text`."""

        tag: ClassVar[str] = "asr"

        scoring: ClassVar[Mapping[str, Any]] = MappingProxyType({"splits": (), "tokenizer": None, "beam": 1})

        table: str = "asr"
        splits: tuple[str, ...] = ("test", "test_unseen")
        steps: Natural = 1000
        items: Size = 12
        lr: NonNegative = 7e-4
        head: Annotated[str, OneOf(HEADS)] = "ctc"
        """Output head: "ctc" or "transducer"; or "classes": one class per transcript of the training split, as in
        keyword spotting.
        """
        ctc: CTC.Config = CTC.Config()
        """The CTC head, used if `head` is "ctc"."""
        transducer: Transducer.Config = Transducer.Config()
        """The transducer head, used if `head` is "transducer"."""
        classes: Classification.Config = Classification.Config(reads="speech")
        """The head over whole transcripts, used if `head` is "classes"."""
        beam: Size = 1
        """Beam size of the final scoring; 1 is greedy."""
        perturbation: Perturbation = Perturbation()
        """Perturbation of training speech, before SpecAugment (which belongs to the head)."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.head == "classes" and self.tokenizer is not None:
                raise UserError("head is 'classes', which has no use for a tokenizer; write tokenizer: null.")
            if self.classes.reads != "speech":
                raise UserError(f"classes.reads is '{self.classes.reads}', but recognition reads speech; remove it.")

        def ids(self) -> tuple[str, ...]:
            return () if self.head == "classes" else ("targets",)

    def objective(self, ports: Ports, targets: Vocabulary | None, train: Table) -> CTC | Transducer | Classification:
        if self.config.head == "classes":
            classes = sorted({row["text"] for row in train.rows})
            if len(classes) > MOST_CLASSES:
                raise UserError(
                    f"head is 'classes', but {train.name} has {len(classes)} different transcripts: at most "
                    f"{MOST_CLASSES} can be classes. Choose ctc or transducer."
                )
            return self.config.classes.build(ports, tuple(classes))
        head = self.config.ctc if self.config.head == "ctc" else self.config.transducer
        return head.build(ports, targets)

    def inputs(self, dataset: Dataset, draws: Draws, seed: int, training: bool = False) -> Batch:
        if self.config.head == "classes":
            references = {"label": tuple(dataset.table.rows[index].get("text") for _, index in draws)}
        else:
            references = {
                "transcript": packing.targets(dataset.target_tokens("text"), draws),
                "tokenizer": dataset.target_tokenizer,
            }
        speech = packing.speech(dataset.table, draws, seed)
        return Batch(self.config.perturbation.apply(speech, dataset.table.centred) if training else speech, references)

    def lost(self, dataset: Dataset, model: Model) -> dict[str, int]:
        if self.config.head == "classes":
            return {}
        (objective,) = model.mixture.objectives.values()
        return {
            LONG: int(out_of_reach(objective, model.encoder, dataset.target_tokens("text"), dataset.table.frames).sum())
        }

    def predict(self, objective, view: View, encoding: Encoding, final: bool = True) -> list[str]:
        if self.config.head == "classes":
            return objective.decode(encoding)
        return decoded(view, objective.decode(encoding, self.config.beam if final else 1))

    def score(self, rows: Sequence[Example], hypotheses: Sequence[str]) -> tuple[list[Score], list[Example]]:
        references = [row["text"] for row in rows]
        words = metrics.word_errors(references, hypotheses)
        characters = metrics.character_errors(references, hypotheses)
        items = [
            {
                "id": row["id"],
                "reference": row["text"],
                "hypothesis": hypothesis,
                "substitutions": w.substitutions,
                "deletions": w.deletions,
                "insertions": w.insertions,
                "words": w.units,
                "character_errors": c.total,
                "characters": c.units,
            }
            for row, hypothesis, w, c in zip(rows, hypotheses, words, characters, strict=True)
        ]
        search = self.config.head + ("" if self.config.head == "classes" else f"|beam:{self.config.beam}")
        signature = f"{metrics.NORMALISED}|{search}"
        by_character = unspaced(references)
        spelt = f"|{metrics.BY_CHARACTER}" if by_character else ""
        wer = WER.score(metrics.error_rate(words), len(rows), signature + spelt, metrics.sums(words))
        cer = CER.score(metrics.error_rate(characters), len(rows), signature, metrics.sums(characters))
        scores = [cer, wer] if by_character else [wer, cer]
        silent = [(row["frames"], w.insertions) for row, w in zip(rows, words, strict=True) if not w.units]
        if silent:
            frames, inserted = map(sum, zip(*silent))
            scores.append(INSERTIONS.score(MINUTE * inserted / frames, len(silent), f"{signature}|without words"))
            for row, w, item in zip(rows, words, items, strict=True):
                item[INSERTIONS.name] = [0, 0] if w.units else [MINUTE * w.insertions, row["frames"]]
        return scores, items

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        references = [row["text"] for row in test]

        def rate(references: Sequence[str], hypotheses: Sequence[str], errors: Any = metrics.word_errors) -> float:
            return metrics.error_rate(errors(references, hypotheses))

        constant = baselines.best_constant([row["text"] for row in train], rate)
        return [
            Baseline(name, metric.name, rate(references, [text] * len(test), errors))
            for name, text in (("empty output", ""), ("best constant", constant))
            for metric, errors in ((WER, metrics.word_errors), (CER, metrics.character_errors))
        ]
