"""Speech translation: text in another language from speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Optional

from ablate.data import packing
from ablate.data.packing import Draws
from ablate.data.table import Example, Table
from ablate.data.tokenizer import TokenizerConfig
from ablate.tasks.scoring import baselines, metrics
from ablate.tasks.supervised.perturbation import Perturbation
from ablate.tasks.task import LOSS, AbstractTask, Baseline, Dataset, Metric, Score, TaskConfig, decoded
from encoders.batch import Batch, View, Vocabulary
from encoders.encoding import Encoding
from encoders.ranges import Natural, NonNegative, Size
from objectives import sequence
from objectives.objective import Ports

BLEU = Metric("bleu", "higher", "", nothing=0.0)
CHRF = Metric("chrf", "higher", "", nothing=0.0)
CHRFPP = Metric("chrfpp", "higher", "", nothing=0.0)  # chrF++


class Translation(AbstractTask):
    """BLEU of a Transformer decoder over the speech encoding (docs/paper.md, section 4), selected by dev loss.

    Rows of several target languages (`direction`, such as "en_de") share one decoder, whose output starts with a
    language token; list their splits, such as "test_en_de", to score each. BLEU's words are those of the target
    language.
    """

    reads = "speech"
    columns = ("text", "translation")
    metrics = (BLEU, CHRF, CHRFPP)
    beside = ("chrfpp",)
    choice = LOSS

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """Translation of a table with audio, `text` and `translation`; CTC on `text` helps the decoder to start."""

        tag: ClassVar[str] = "translation"

        scoring: ClassVar[Mapping[str, Any]] = MappingProxyType(
            {"splits": (), "tokenizer": None, "beam": 1, "penalty": 0.0, "most": 1}
        )

        table: str = "translation"
        steps: Natural = 900
        items: Size = 12
        lr: NonNegative = 7e-4
        head_lr: NonNegative = 1e-2
        tokenizer: Optional[TokenizerConfig] = TokenizerConfig(fields=("translation.translation",), size=600)
        decoder: sequence.Sequence.Config = sequence.Sequence.Config(reads="speech", ctc=0.5)
        """The decoder; the paper's has 4 layers of width 384."""
        perturbation: Perturbation = Perturbation()
        """Perturbation of training speech, before SpecAugment (which belongs to the decoder)."""
        beam: Size = 4
        """Beam size of the final scoring; 1 is greedy."""
        penalty: NonNegative = 0.6
        """Length penalty of the beam search; 0 favours short output."""
        most: Size = 64
        """Maximum output length in tokens."""

        def ids(self) -> tuple[str, ...]:
            return ("targets", "own") if self.decoder.ctc else ("targets",)

    def objective(self, ports: Ports, targets: Vocabulary | None, train: Table) -> sequence.Sequence:
        languages = tuple(sorted({into(row) for row in train.rows}))
        return self.config.decoder.build(ports, targets, languages if len(languages) > 1 else ())

    def inputs(self, dataset: Dataset, draws: Draws, seed: int, training: bool = False) -> Batch:
        references = {
            "target": packing.targets(dataset.target_tokens("translation"), draws),
            "tokenizer": dataset.target_tokenizer,
            "language": tuple(into(dataset.table.rows[index]) for _, index in draws),
        }
        if self.config.decoder.ctc:
            references["transcript"] = packing.targets(dataset.tokens("text"), draws)
        speech = packing.speech(dataset.table, draws, seed)
        return Batch(self.config.perturbation.apply(speech, dataset.table.centred) if training else speech, references)

    def predict(self, objective: sequence.Sequence, view: View, encoding: Encoding, final: bool = True) -> list[str]:
        beam = self.config.beam if final else 1
        return decoded(view, objective.decode(encoding, beam, self.config.penalty, self.config.most, view))

    def score(self, rows: Sequence[Example], hypotheses: Sequence[str]) -> tuple[list[Score], list[Example]]:
        counts = metrics.ngrams([row["translation"] for row in rows], hypotheses, [into(row) for row in rows])
        items = [
            {"id": row["id"], "reference": row["translation"], "hypothesis": hypothesis, **asdict(own)}
            for row, hypothesis, own in zip(rows, hypotheses, counts, strict=True)
        ]
        search = f"|beam:{self.config.beam}|lp:{self.config.penalty}"
        values = _scores(rows, hypotheses).items()
        return [metric.score(value, len(rows), signature + search) for metric, (value, signature) in values], items

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        languages = [
            into(row) for row in train[: baselines.REFERENCES]
        ]  # of the references that constants are tried on
        constant = baselines.best_constant(
            [row["translation"] for row in train],
            lambda references, hypotheses: -metrics.bleu(references, hypotheses, languages)[0],
        )
        outputs = {"best constant": [constant] * len(test), "copy of the transcript": [row["text"] for row in test]}
        return [
            Baseline(name, metric.name, value)
            for name, hypotheses in outputs.items()
            for metric, (value, _) in _scores(test, hypotheses).items()
        ]


def _scores(rows: Sequence[Example], hypotheses: Sequence[str]) -> dict[Metric, tuple[float, str]]:
    """The value and the signature of each metric."""
    references = [row["translation"] for row in rows]
    return {
        BLEU: metrics.bleu(references, hypotheses, [into(row) for row in rows]),
        CHRF: metrics.chrf(references, hypotheses),
        CHRFPP: metrics.chrf(references, hypotheses, words=2),
    }


def into(row: Example) -> str:
    """The target language of a row; "" if rows do not state it."""
    return row.get("direction", "").partition("_")[2]
