"""Text normalization: the spoken form of written text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from ablate.data import packing
from ablate.data.packing import Draws
from ablate.data.table import Example, Table
from ablate.errors import UserError
from ablate.tasks.scoring import baselines, metrics
from ablate.tasks.supervised.asr import WER
from ablate.tasks.task import LOSS, AbstractTask, Baseline, Dataset, Metric, Score, TaskConfig, decoded
from ablate.training.loop import Model
from encoders.batch import Batch, View, Vocabulary
from encoders.encoding import Encoding
from encoders.ranges import NonNegative, Size, Within
from objectives import sequence
from objectives.objective import Ports

SER = Metric("ser", "lower")
EXACT = "exact match|space:one"


class Normalization(AbstractTask):
    """Sentence error rate of a decoder over the text encoding (docs/paper.md, section 4), selected by dev loss.

    With `decoder: {copying: 0.95}` it starts as a copy of the input. If rows have `classes`, "ser_CLASS" is the error
    rate of the sentences that contain that class.
    """

    reads = "text"
    columns = ("written", "spoken")
    metrics = (SER, WER)
    by_class = SER
    choice = LOSS
    given = ("written",)

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """Normalization of a table with `written` and `spoken`; the output is in the encoder's own tokens."""

        tag: ClassVar[str] = "normalization"

        scoring: ClassVar[Mapping[str, Any]] = MappingProxyType(
            {"splits": (), "tokenizer": None, "beam": 1, "penalty": 0.0, "most": 1}
        )

        table: str = "normalization"
        lr: NonNegative = 1e-3
        head_lr: NonNegative = 8e-3
        decoder: sequence.Sequence.Config = sequence.Sequence.Config(reads="text")
        """The decoder."""
        beam: Size = 1
        """Beam size of the final scoring; 1 is greedy."""
        penalty: NonNegative = 0.6
        """Length penalty of the beam search."""
        most: Size = 96
        """Maximum output length in tokens."""
        max_tokens: Annotated[int, Within(3)] = 256
        """Maximum input length, special tokens included; longer input is truncated."""

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.decoder.copying and self.tokenizer is not None:
                raise UserError(
                    "decoder.copying copies the encoder's own tokens; remove the task's tokenizer, or do not copy."
                )

        def ids(self) -> tuple[str, ...]:
            return ("own", "targets")

    def objective(self, ports: Ports, targets: Vocabulary | None, train: Table) -> sequence.Sequence:
        return self.config.decoder.build(ports, targets)

    def inputs(self, dataset: Dataset, draws: Draws, seed: int, training: bool = False) -> Batch:
        references = {
            "target": packing.targets(dataset.target_tokens("spoken"), draws),
            "tokenizer": dataset.target_tokenizer,
        }
        return Batch(packing.text(dataset.tokens("written"), draws, seed, self.config.max_tokens), references)

    def lost(self, dataset: Dataset, model: Model) -> dict[str, int]:
        over = self.sizes(dataset) > self.config.max_tokens
        return {f"cut to max_tokens ({self.config.max_tokens})": int(over.sum())}

    def predict(self, objective: sequence.Sequence, view: View, encoding: Encoding, final: bool = True) -> list[str]:
        beam = self.config.beam if final else 1
        return decoded(view, objective.decode(encoding, beam, self.config.penalty, self.config.most, view))

    def score(self, rows: Sequence[Example], hypotheses: Sequence[str]) -> tuple[list[Score], list[Example]]:
        words = metrics.word_errors([row["spoken"] for row in rows], hypotheses)
        items = [
            {
                "id": row["id"],
                "reference": row["spoken"],
                "hypothesis": hypothesis,
                "correct": int(row["spoken"].split() == hypothesis.split()),
                "substitutions": w.substitutions,
                "deletions": w.deletions,
                "insertions": w.insertions,
                "words": w.units,
                **({"classes": row["classes"]} if "classes" in row else {}),
            }
            for row, hypothesis, w in zip(rows, hypotheses, words, strict=True)
        ]
        return [
            SER.score(wrong(items), len(rows), EXACT),
            WER.score(metrics.error_rate(words), len(rows), metrics.NORMALISED, metrics.sums(words)),
            *(
                Metric(f"{SER.name}_{name.lower()}", SER.better).score(
                    wrong(part), len(part), f"{EXACT}|sentences with {name}"
                )
                for name, part in by_class(items).items()
            ),
        ], items

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        train = train[: baselines.LEARNT]  # Google's corpus has millions

        # In some corpora spoken text is lower-case and without punctuation: the training split shows it.
        def kept(copy: Callable[[str], str]) -> int:
            return sum(len(set(row["spoken"].split()).intersection(copy(row["written"]).split())) for row in train)

        copy = max(_COPIES, key=kept)
        table = baselines.dictionary([copy(row["written"]) for row in train], [row["spoken"] for row in train])
        copied = [copy(row["written"]) for row in test]
        outputs = {"copy": copied, "dictionary": [baselines.looked_up(text, table) for text in copied]}
        return [
            Baseline(name, score.metric, score.value)
            for name, hypotheses in outputs.items()
            for score in self.score(test, hypotheses)[0]
        ]


def wrong(items: Sequence[Example]) -> float:
    """Percentage of sentences that are not exactly right; 0 for no sentences."""
    return 100 * sum(1 - item["correct"] for item in items) / max(1, len(items))


def by_class(items: Sequence[Example]) -> dict[str, list[Example]]:
    """The sentences that contain each class (DATE, MONEY, ...), if the corpus states classes; a sentence may have
    several.
    """
    sentences: dict[str, list[Example]] = {}
    for item in items:
        for name in item.get("classes", ()):
            sentences.setdefault(name, []).append(item)
    return dict(sorted(sentences.items()))


def _bare(text: str) -> str:
    """Drop punctuation at the ends of words."""
    return " ".join(filter(None, (word.strip('.,;:!?"()') for word in text.split())))


_COPIES = (lambda text: _bare(text.lower()), _bare, str.lower, str)  # of equals, the first
