"""The `finetune` stage: train a supervised objective on a pre-trained leaf; keep the weights with the best dev
score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ablate.data import likeness
from ablate.data.loader import Loader
from ablate.data.packing import Draws, Order, ids
from ablate.data.speaker import Alone
from ablate.data.table import Table
from ablate.data.tokenizer import Tokenizer
from ablate.stages import lost
from ablate.stages.evaluate import dev_score
from ablate.stages.prepare import opened
from ablate.stages.pretrain import load_encoder
from ablate.stages.tuned import settled, winner
from ablate.store.run import RunFolder
from ablate.tasks.task import AbstractScored, AbstractTask, Dataset, Metric, TaskConfig
from ablate.training import checkpoint, distributed, optim
from ablate.training.checkpoint import Checkpoint
from ablate.training.loop import Loop, Model
from ablate.training.optim import FlatAdamW, OptimizerConfig
from encoders import seeds
from encoders.batch import Batch
from encoders.encoder import EncoderConfig
from objectives.mixture import Mixture
from objectives.objective import AbstractObjective, Ports

LEAST = 0.2  # minimum share of the steps that patience spans
LIKENESS = "likeness.json"  # of fine-tunings on speech: see ablate.data.likeness
KEPT = ("value", "loss", "first", "step")  # of the best evaluation, stored in checkpoints


@dataclass(frozen=True, kw_only=True)
class FinetuneStage:
    """Identity of a fine-tuning stage."""

    how: ClassVar[tuple[str, ...]] = ("search",)

    tag: ClassVar[str] = "finetune"

    encoder: EncoderConfig
    task: TaskConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    """Betas, weight decay and clipping; learning rates and warm-up come from the task."""
    seed: int = 0
    draw: int = field(default=0, metadata={"absent": "0"})
    """Which of several fine-tunings of one leaf it is; they differ by chance alone."""
    search: dict[str, Any] = field(default_factory=dict)
    """How its task searches for predictions on new input: as in its scores."""

    @property
    def chance(self) -> int:
        """The seed of all that is random in it."""
        return seeds.key(self.seed, "finetune", self.draw) if self.draw else self.seed


class Items:
    """The training items of a task, in an endless order; an update's budget is its number of items."""

    def __init__(self, task: AbstractTask, dataset: Dataset, seed: int) -> None:
        self.task, self.dataset, self.seed = task, dataset, seed
        self.order = Order(len(dataset), seed, f"finetune/{task.config.table}")

    @property
    def table(self) -> Table:
        return self.dataset.table

    def drawn(self, cursor: int, budget: float, shards: int = 1) -> tuple[list[Draws], int]:
        assert shards == 1, "an update of fine-tuning is one shard"
        last = cursor + int(budget)
        return [[(slot, self.order.index(slot)) for slot in range(cursor, last)]], last

    def collate(self, draws: Draws) -> Batch:
        batch = self.task.inputs(self.dataset, draws, self.seed, training=True)
        return replace(batch, ids=ids(self.table, draws))


def items(config: TaskConfig, dataset: Dataset, seed: int) -> dict[str, Items]:
    """What a loader draws from, by the modality that the task reads."""
    task = config.build()
    return {task.reads: Items(task, dataset, seed)}


def dataset(task: AbstractScored, parents: Mapping[str, RunFolder], split: str) -> Dataset:
    """Open one split of the task's table, with its texts as ids if the stage starts from these."""

    def encoded(tokenizer: str, ids: str) -> tuple[Tokenizer, Path | None]:
        folder = parents[f"{ids}/{split}"].sound() if f"{ids}/{split}" in parents else None
        return Tokenizer(parents[tokenizer].sound()), folder

    targets = encoded("targets", "targets-tokens") if "targets" in parents else None
    table = opened(parents[f"table/{split}"], f"{task.config.table}.{split}")
    return Dataset(table, encoded("tokenizer", "tokens"), targets)


def build(config, parents: Mapping[str, RunFolder]) -> tuple[Model, AbstractTask, Tokenizer]:
    """Make the encoder (that of the pre-trained leaf, if the stage has one) with the task's objective on top.

    `config` has encoder, task and seed: a fine-tuning stage, or a scoring stage that loads the weights afterwards.
    """
    tokenizer = Tokenizer(parents["tokenizer"].sound())
    targets = Tokenizer(parents["targets"].sound()).vocabulary if "targets" in parents else None
    task = config.task.build()
    vocabulary = tokenizer.vocabulary
    encoder = (
        load_encoder(config.encoder, vocabulary, parents["pretrain"])
        if "pretrain" in parents
        else config.encoder.build(vocabulary)
    )
    ports = Ports(width=encoder.width, vocabulary=vocabulary, embedding=encoder.embedding, stacked=encoder.stacked)
    torch.manual_seed(seeds.key(config.seed, "init/objective/task"))
    objective: AbstractObjective = task.objective(ports, targets, dataset(task, parents, "train").table)
    model = Model(encoder, Mixture({"task": objective}, {"task": 1.0}, {}))
    return model.to(distributed.device()), task, tokenizer


def stage(config: FinetuneStage, parents: Mapping[str, RunFolder], run: RunFolder) -> dict:
    """Fine-tune until the steps are used up or dev stops improving; keep the weights with the best dev score."""
    if "tune" in parents and not config.draw and winner(parents["tune"]).identity()["config"]["seed"] == config.seed:
        return _adopted(winner(parents["tune"]), run)
    config = settled(config, parents)
    model, task, tokenizer = build(replace(config, seed=config.chance), parents)
    train, dev, how = dataset(task, parents, "train"), dataset(task, parents, "dev"), config.task
    missed = lost.of_task(task.lost(train, model), train.table)
    loader = Loader(partial(items, how, train, config.chance), {task.reads: how.items})
    optimizer = FlatAdamW(
        {
            "encoder": ([(f"encoder.{n}", p) for n, p in model.encoder.named_parameters()], how.lr),
            "head": ([(n, p) for n, p in model.named_parameters() if not n.startswith("encoder.")], how.head_lr),
        },
        config.optimizer,
        how.average,
    )
    thaw = round(how.frozen * how.steps)

    def update(step: int, cursors: dict[str, int]) -> tuple[list[dict], dict[str, int]]:
        model.encoder.requires_grad_(step >= thaw)
        if thaw:  # otherwise batch-norm statistics would move, and dropout would perturb the frozen encoder
            model.encoder.train(step >= thaw)
        if step == thaw > 0:
            optimizer.enter("encoder")
        shards, after = loader.update(step, {task.reads: step * how.items})
        return shards, {"items": after[task.reads]}

    warm = max(round(how.head_warmup * how.steps), thaw + round(how.warmup * (how.steps - thaw)))
    best = Best(task.chosen, settled=warm)

    def evaluate(step: int) -> dict[str, float]:
        with optimizer.averaged():
            value, loss = dev_score(model, task, dev, tokenizer.vocabulary)
            best.offer(step, value, loss, model)
        loop.finished = step < how.steps and best.idle(step) >= patience(how) and best.learnt
        return {f"dev/{task.chosen.name}": value, "dev/loss": loss}

    loop = Loop(
        model=model,
        optimizer=optimizer,
        run=run,
        vocabulary=tokenizer.vocabulary,
        seed=config.chance,
        first=0,
        last=how.steps,
        update=update,
        factor=lambda step: optim.warmup_decay(step, how.steps, how.head_warmup),
        factors=lambda step: {"encoder": encoder_factor(step, how)},
        fraction=lambda step: {},
        evaluate=evaluate,
        evaluate_every=how.evaluate_every,
        extra=best.state,
    )
    step, saved = loop.resume()
    if saved is not None:
        best.restore(saved)
    with loader:
        loop.fit(step)
    loop.keep(loop.updates, best.weights)
    if task.reads == "speech" and not run.rank:
        heard(train.table, dev.table, run)
    stopped = {"stopped_early": loop.updates} if loop.updates < how.steps else {}
    if stopped:
        print(
            f"Stopped after {loop.updates} of {how.steps} updates: dev has not improved since update {best.step}.",
            flush=True,
        )
    return {
        "task": task.name,
        "best_step": best.step,
        "steps_run": loop.updates,
        **stopped,
        "dev": {"metric": task.chosen.name, "value": best.value},
        "lost": missed,
        "waiting": loop.waiting,
        "busy_seconds": loop.busy_seconds,
    }


def heard(train: Table, dev: Table, run: RunFolder) -> None:
    """Write what the recordings of the training are like, by which `ablate.transcribe` knows those that are not."""

    def mels(table: Table) -> Iterator[np.ndarray]:
        single = table if table.centred else Alone(table, train.means.mean(0))
        for place in range(min(len(table), likeness.MOST)):
            run.check()
            yield single.mel(place * len(table) // min(len(table), likeness.MOST))

    if (learnt := likeness.learnt(mels(train), mels(dev))) is not None:
        run.write_json(LIKENESS, asdict(learnt))


def _adopted(tuned: RunFolder, run: RunFolder) -> dict:
    """Take over the run that tuning chose: it is the same training with the same seed."""
    likely = (LIKENESS,) if LIKENESS in tuned.result()["files"] else ()
    for name in (checkpoint.MODEL, "metrics.jsonl", checkpoint.CHECKPOINT, *likely):
        run.write_bytes(name, tuned.checked(name).read_bytes())
    kept = ("task", "best_step", "steps_run", "stopped_early", "dev", "lost")
    result = tuned.result()
    return {**{name: result[name] for name in kept if name in result}, "adopted": tuned.id, "busy_seconds": 0.0}


def encoder_factor(step: int, how: TaskConfig) -> float:
    """Learning-rate factor of the encoder: 0 while it is frozen, then warm-up and decay over the remaining steps."""
    thaw = round(how.frozen * how.steps)
    return 0.0 if step < thaw else optim.warmup_decay(step - thaw, how.steps - thaw, how.warmup)


def patience(how: TaskConfig) -> float:
    """Number of updates without a better dev score after which training stops; infinite if it never does."""
    return max(how.patience * how.evaluate_every, LEAST * how.steps) if how.patience else math.inf


class Best:
    """The best evaluation on dev so far, and its weights. Ties go to the lower loss, then to the later evaluation."""

    def __init__(self, metric: Metric, settled: int = 0):
        self.metric, self.settled = metric, settled  # patience counts from this update
        self.value, self.loss, self.first = math.nan, math.nan, math.nan
        self.step, self.weights = 0, {}

    def offer(self, step: int, value: float, loss: float, model: Model) -> None:
        """Consider the weights at `step`; NaN never wins, the first evaluation always does."""
        equal = value == self.value and (loss <= self.loss or math.isnan(self.loss))
        only = math.isnan(self.value) and not math.isnan(value)
        if not self.weights or only or equal or self.metric.beats(value, self.value):
            if not self.weights:
                self.first = value
            self.value, self.loss, self.step = value, loss, step
            self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def idle(self, step: int) -> int:
        """Number of updates since dev was best, or since patience started to count."""
        return step - max(self.step, self.settled)

    @property
    def learnt(self) -> bool:
        """Whether dev is clearly better than at first, and than empty outputs."""
        others = [self.first] if self.metric.nothing is None else [self.first, self.metric.nothing]
        return all(self.metric.beats(self.value, other, self.metric.margin) for other in others)

    def state(self) -> tuple[dict, dict]:
        tensors = {f"best/{k}": v for k, v in self.weights.items()}
        return tensors, {name: getattr(self, name) for name in KEPT} if self.weights else {}

    def restore(self, saved: Checkpoint) -> None:
        """Restore what `state` returned; the last checkpoint holds the best weights as the model's."""
        if extra := saved.state["extra"]:
            self.weights = checkpoint.part(saved.moments, "best/") or saved.weights
            for name in KEPT:
                setattr(self, name, extra[name])
