"""How well STM's head distinguishes true pairs from unseen false ones (docs/paper.md, section 10.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ablate.data.table import Example
from ablate.tasks.measured.pairing import beside_both
from ablate.tasks.scoring.agreement import ACCURACY
from ablate.tasks.task import AbstractMeasure, Baseline, Dataset, Score, TaskConfig
from ablate.training.loop import Model, context
from encoders.batch import Batch, Pair, Vocabulary
from encoders.ranges import Natural, Size
from objectives.mixture import moved


class Matching(AbstractMeasure):
    """Share of pairs that STM's head classifies correctly; half of them are true.

    Every text is judged twice: with its own speech, and with that of another sentence of nearest duration, so that
    lengths do not help. Both modalities are masked as in STM's training, if they are there. A head that has learnt
    nothing is right about half of the time.
    """

    reads = "pair"
    columns = ("text",)
    sees = ("pair",)
    baseline_split = "dev"
    metrics = (ACCURACY,)

    @dataclass(frozen=True, kw_only=True)
    class Config(TaskConfig):
        """Held-out pairs: a table with audio, `text` and `seconds`. Nothing is trained."""

        tag: ClassVar[str] = "matching"

        table: str = "retrieval"
        steps: Natural = 0
        items: Size = 16
        """Number of pairs encoded at once."""

    @classmethod
    def fits(cls, objectives: Mapping[str, Any]) -> bool:
        return any(objective.judges_pairs for objective in objectives.values())

    @torch.no_grad()
    def measure(self, model: Model, dataset: Dataset, vocabulary: Vocabulary) -> list[tuple[bool, bool]]:
        """For each text, whether the head is right about its own speech, and about the other speech."""
        right: list[tuple[bool, bool]] = []
        for text, (own, other) in beside_both(dataset, self.config.items):
            true, false = (self._margins(model, Pair(speech, text), vocabulary) for speech in (own, other))
            right += zip((true > 0).tolist(), (false <= 0).tolist(), strict=True)
        return right

    def _margins(self, model: Model, pair: Pair, vocabulary: Vocabulary) -> Tensor:
        """By how much each pair scores higher as true than as false: [B]."""
        objective = next(one for one in model.mixture.objectives.values() if one.whole_pairs is not None)
        batch = Batch(pair)
        view = objective.whole_pairs.build(batch, context(model.encoder, batch, vocabulary, 0))
        view = moved(view, next(model.encoder.parameters()).device)
        false_B, true_B = objective.logits(model.encoder(view)).unbind(1)
        return true_B - false_B

    def score(
        self, rows: Sequence[Example], hypotheses: Sequence[tuple[bool, bool]]
    ) -> tuple[list[Score], list[Example]]:
        items = [
            {"id": row["id"], "reference": row["text"], "pair": pair, "correct": int(correct)}
            for row, both in zip(rows, hypotheses, strict=True)
            for pair, correct in zip(("true", "false"), both, strict=True)
        ]
        accuracy = 100 * sum(item["correct"] for item in items) / len(items)
        return [ACCURACY.score(accuracy, len(rows), "own speech and another's of nearest duration")], items

    def baselines(self, train: Sequence[Example], test: Sequence[Example]) -> list[Baseline]:
        return [Baseline("chance", ACCURACY.name, 50.0)]
