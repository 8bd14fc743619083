"""Run a task's model over a split: packed in order, without gradients or randomness."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ablate.data.packing import take
from ablate.data.streams import STREAMS
from ablate.tasks.task import LOSS, AbstractTask, Dataset
from ablate.training import distributed
from ablate.training.loop import Model, context
from encoders.batch import View, Vocabulary
from encoders.encoding import Encoding
from objectives.mixture import moved


class InOrder:
    """The items of a split in their stored order (the counterpart of the shuffled `Order`)."""

    def __init__(self, n: int):
        self.n = n

    def index(self, slot: int) -> int:
        return slot


@torch.no_grad()
def encoded(model: Model, task: AbstractTask, data: Dataset, vocabulary: Vocabulary) -> Iterator[tuple[View, Encoding]]:
    """Encode a split pack by pack, in order."""
    objective = model.mixture.objectives["task"]
    sizes, cursor = task.sizes(data), 0
    while cursor < len(sizes):
        (draws,), cursor = take(
            InOrder(len(sizes)), sizes, cursor, STREAMS[task.reads].packed, 1, at_most=len(sizes) - cursor
        )
        batch = task.inputs(data, draws, 0)
        view = objective.view.build(batch, context(model.encoder, batch, vocabulary, 0))
        view = moved(view, distributed.device())
        yield view, model.encoder(view)
        data.told(cursor)


@torch.no_grad()
def predictions(model: Model, task: AbstractTask, data: Dataset, vocabulary: Vocabulary, final: bool) -> list:
    """One hypothesis per item; `final` may use beam search, the dev predictions are greedy."""
    objective = model.mixture.objectives["task"]
    return [
        hypothesis
        for view, encoding in encoded(model, task, data, vocabulary)
        for hypothesis in task.predict(objective, view, encoding, final=final)
    ]


@torch.no_grad()
def dev_score(model: Model, task: AbstractTask, data: Dataset, vocabulary: Vocabulary) -> tuple[float, float]:
    """The metric that selects, for greedy predictions on a split; and the mean of the objective's first term there."""
    objective, hypotheses, total, count = model.mixture.objectives["task"], [], 0.0, 0.0
    for view, encoding in encoded(model, task, data, vocabulary):
        name, number = next(iter(objective.counts(view).items()))
        total += float(objective(view, encoding, {})[name].total)
        count += number
        if task.chosen is not LOSS:
            hypotheses += task.predict(objective, view, encoding, final=False)
    loss = total / count if count else 0.0  # all labels are unknown to training: evaluations tie
    if task.chosen is LOSS:
        return loss, loss
    scores, _ = task.score(data.table.rows, hypotheses)
    return next(score.value for score in scores if score.metric == task.chosen.name), loss
