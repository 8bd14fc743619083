"""The one training loop: accumulate shards, divide once, clip, step, log, checkpoint. Fine-tuning uses it too."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ablate.errors import UserError
from ablate.store import continuing
from ablate.store.run import RunFolder, Stopped
from ablate.training import checkpoint, distributed, not_finite, numerics
from ablate.training.checkpoint import Checkpoint
from ablate.training.not_finite import NotFinite
from ablate.training.optim import FlatAdamW
from encoders import seeds
from encoders.batch import Batch, Vocabulary
from encoders.encoder import AbstractEncoder
from objectives.mixture import Mixture, Prepared
from objectives.objective import ViewContext

LOG_EVERY = continuing.EVERY  # updates; checkpoints coincide, so that a resumed log equals an uninterrupted one
SAVE_SECONDS = 20.0

Shard = Mapping[str, Batch]  # stream -> batch


class Model(nn.Module):
    """An encoder and the objectives that score it."""

    def __init__(self, encoder: AbstractEncoder, mixture: Mixture):
        super().__init__()
        self.encoder = encoder
        self.mixture = mixture


def context(encoder: AbstractEncoder, batch: Batch, vocabulary: Vocabulary, key: int) -> ViewContext:
    """What views of `batch` may depend on: speech lengths after subsampling, and a key for the shard."""
    speech = batch.inputs.speech
    lengths = encoder.subsampled(speech.lengths) if speech else ()
    return ViewContext(speech_lengths=lengths, vocabulary=vocabulary, key=key)


def prepare(model: Model, shard: Shard, vocabulary: Vocabulary, key: Callable[[str], int]) -> Prepared:
    """Make the views of a shard, on this rank's device; `key(stream)` is the key for random draws about the whole
    shard.
    """
    contexts = {name: context(model.encoder, batch, vocabulary, key(name)) for name, batch in shard.items()}
    return model.mixture.views(shard, contexts).to(distributed.device())


@dataclass
class Loop:
    """State and policy of one training run.

    `update(step, cursors)` returns the shards of an update and the streams' new cursors. It is a pure function, so that
    the content of an update depends only on (seed, step). `factor(step)` is the learning-rate factor, `factors(step)`
    that of parameter groups with a factor of their own, `fraction(step)` how far each of the speech targets is
    annealed. `evaluate(step)`, if given, runs every `evaluate_every` updates and returns metrics to log; it may set
    `finished` to stop early. `probe(step)` is logged too, every `probe_every` updates, and changes nothing. `extra()`
    returns further tensors and JSON-able state for the checkpoint.
    """

    model: Model
    optimizer: FlatAdamW
    run: RunFolder
    vocabulary: Vocabulary
    seed: int
    first: int
    last: int
    update: Callable[[int, dict[str, int]], tuple[list[Shard], dict[str, int]]]
    factor: Callable[[int], float]
    fraction: Callable[[int], Mapping[str, float]]
    evaluate: Callable[[int], Mapping[str, float]] | None = None
    evaluate_every: int = 0
    probe: Callable[[int], Mapping[str, float]] | None = None
    probe_every: int = 0
    extra: Callable[[], tuple[dict, dict]] = lambda: ({}, {})
    factors: Callable[[int], Mapping[str, float]] = lambda step: {}
    cursors: dict[str, int] = field(default_factory=dict)
    updates: int = 0  # optimizer updates so far, including those of parents (Adam's bias correction)
    finished: bool = False
    busy_seconds: float = 0.0
    waited_seconds: float = 0.0  # of those, spent waiting for data

    @property
    def waiting(self) -> float:
        """Share of the training time so far that was spent waiting for data."""
        return round(self.waited_seconds / max(self.busy_seconds, 1e-9), 4)

    def resume(self) -> tuple[int, Checkpoint | None]:
        """Load this run's own checkpoint if there is one: (next step, checkpoint)."""
        saved = checkpoint.load(self.run.files)
        distributed.from_first(None)  # all ranks have read before the first writes
        if saved is None:
            self.run.truncate(self.first)
            return self.first, None
        self.take_up(saved)
        self.busy_seconds, self.waited_seconds = saved.state["busy_seconds"], saved.state["waited_seconds"]
        self.run.truncate(saved.step)
        return saved.step, saved

    def take_up(self, saved: Checkpoint) -> None:
        """Continue from a checkpoint of this same training. Raises UserError if that was in another precision."""
        self.must_match(saved)
        self.model.load_state_dict(saved.weights)
        self.updates, self.cursors = saved.state["updates"], dict(saved.state["cursors"])
        self.finished = saved.state["finished"]
        if self.updates:
            self.optimizer.load(saved.moments, self.updates, saved.state["entered"])

    def must_match(self, saved: Checkpoint) -> None:
        """Raise UserError unless a checkpoint was trained in this model's precision."""
        own = self.model.encoder.precision
        if (made := saved.state.get("precision", own)) != own:  # none in checkpoints that older code wrote
            raise UserError(
                f"The checkpoint of update {saved.step} was trained in {made}, and this stage trains in {own}: set "
                f"encoder.precision to {made} to go on from it, or remove the folder with it to start anew."
            )

    def save(self, step: int, last: bool = False) -> float:
        """Write the checkpoint after `step` updates; the `last` one of a trunk is where other stages continue. Return
        the seconds spent waiting for disk space. Raises Lost.
        """
        return self._write(step, self.model.state_dict(), self.optimizer.state() | self.extra()[0], last)

    def keep(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Write the last checkpoint: weights without moments. A stage killed between this and its result still ends
        with it.
        """
        self._write(step, weights, {}, last=True)

    def _write(self, step: int, weights: Mapping[str, Tensor], moments: Mapping[str, Tensor], last: bool) -> float:
        state = {
            "updates": self.updates,
            "precision": self.model.encoder.precision,
            "entered": {name: update for name, update in self.optimizer.entered.items() if update},
            "cursors": self.cursors,
            "extra": self.extra()[1],
            "busy_seconds": self.busy_seconds,
            "waited_seconds": self.waited_seconds,
            "finished": self.finished,
        }

        def write() -> None:
            with self.run.writing() as files:
                checkpoint.save(files, step, weights, moments, state, last)

        return self._patiently(write, checkpoint.size(weights, moments))

    def _patiently(self, write: Callable[[], None], needed: int) -> float:
        """Write `needed` bytes as soon as the disk has room for them, and return the seconds spent waiting. All ranks
        wait for the first, and stop together.
        """
        before = self.run.held_up
        while not distributed.from_first(self.run.tried(write, needed)):
            if distributed.any_rank(self.run.stopping):
                raise self.run.crowded()
        return distributed.from_first(self.run.held_up - before)

    def fit(self, step: int) -> None:
        """Train from `step` to `last` (or until `finished`); saves at intervals and when told to stop."""
        sums: distributed.Sums = {}
        saved, window, waited = time.monotonic(), time.monotonic(), 0.0
        self._ready()
        began, begun_busy, first = time.monotonic(), self.busy_seconds, step
        leads = distributed.rank() == 0  # the first rank evaluates, logs and saves
        self.model.train()
        while step < self.last and not self.finished:
            norms, wait, metrics = self.one_update(step)
            waited += wait
            self.waited_seconds += wait
            distributed.add(sums, {**metrics, **{name: (norm, 1.0) for name, norm in norms.items()}})
            step += 1
            boundary = step % LOG_EVERY == 0 or step == self.last
            if boundary:
                seconds = time.monotonic() - window
                means = {k: t / c for k, (t, c) in sums.items() if c}
                own = {f"lr/{group}": factor for group, factor in self.factors(step - 1).items()}
                self.run.log(step, {**means, "lr": self.factor(step - 1), **own})
                loss = means.get("loss", math.nan)
                self.run.progress(
                    step - self.first,
                    self.last - self.first,
                    first=first - self.first,
                    loss=round(loss, 4),
                    rate=round((step - first) / (time.monotonic() - began), 2),
                    waiting=round(waited / max(seconds, 1e-9), 3),
                )
                sums, window, waited = {}, time.monotonic(), 0.0
            if leads and self.probe and step % self.probe_every == 0:
                self.run.log(step, self.probe(step))
            if self.evaluate and (step % self.evaluate_every == 0 or step == self.last):
                if leads:
                    self.model.eval()
                    self.run.log(step, self.evaluate(step))
                    self.model.train()
                self.finished = distributed.from_first(self.finished)
            self.busy_seconds = begun_busy + time.monotonic() - began
            stop = boundary and distributed.any_rank(self.run.stopping)  # ranks stop together
            if stop or (boundary and time.monotonic() - saved > SAVE_SECONDS):
                began += self.save(step)  # time spent waiting for disk space is not training time
                saved = time.monotonic()
            if stop:
                raise Stopped(f"Asked to stop after update {step}, which is saved.")
        self.model.eval()

    def _ready(self) -> None:
        """Wait for disk space, and turn on activation checkpointing if the stage is to save memory. Raises UserError
        if ranks cannot share the encoder's updates.
        """
        self._patiently(lambda: None, 3 * checkpoint.size(self.model.state_dict()))  # weights and two moments
        encoder, spares = self.model.encoder, self.run.spares_memory
        if distributed.ranks() > 1 and encoder.alone:
            raise UserError(f"Ranks cannot share updates of this encoder. {encoder.alone}, or resources.KIND.tasks=1.")
        if spares and not encoder.offers("recompute"):
            print(f"This stage ran out of memory and still uses as much: {type(encoder).__name__} has no recompute.")
        encoder.recompute(spares)
        numerics.warn(encoder, distributed.device())

    def one_update(self, step: int) -> tuple[dict[str, float], float, dict]:
        """Run one optimizer update; return (gradient norms by name, seconds spent waiting for data, metrics as name ->
        (sum, count)).
        """
        began = time.monotonic()
        shards, self.cursors = self.update(step, self.cursors)
        prepared = [
            prepare(
                self.model,
                shard,
                self.vocabulary,
                lambda name, number=number: seeds.key(self.seed, f"shard/{name}", step, number),
            )
            for number, shard in enumerate(shards)
        ]
        denominators: dict[str, float] = {}
        for p in prepared:
            for name, count in p.counts.items():
                denominators[name] = denominators.get(name, 0.0) + count
        wait = time.monotonic() - began
        metrics: distributed.Sums = {}
        loss_sum = 0.0

        def dropout(number: int) -> int:
            return seeds.key(self.seed, "dropout", step, number)

        gradient, earlier = self.optimizer.gradient, None  # of the shard, and the sum of those before it
        self.optimizer.zero()
        for place, (number, p) in enumerate(distributed.mine(prepared)):
            if place:  # views are summed shard by shard, so that sums do not depend on how many live at a time
                earlier = gradient.clone() if earlier is None else earlier.add_(gradient)
                self.optimizer.zero()
            loss, sums = self.model.mixture.backward(
                self.model.encoder, p, denominators, self.fraction(step), dropout(number)
            )
            loss_sum += float(loss)
            distributed.add(metrics, sums)
        if earlier is not None:
            gradient.add_(earlier)
        distributed.sum_(gradient)
        loss_sum, metrics = distributed.merged(loss_sum, metrics)
        if not math.isfinite(loss_sum) or not torch.isfinite(gradient.sum()):
            del earlier
            mine = not_finite.faults(self.model, shards, prepared, denominators, self.fraction(step), dropout)
            faults = distributed.gathered(list(mine))
            if distributed.rank() == 0:
                self.run.write_json(not_finite.NAME, {"step": step, "faults": faults})
            raise NotFinite(step, faults)
        self.model.mixture.close(distributed.sum_)
        norms = {name: float(x) for name, x in self.optimizer.step(self.factor(step), self.factors(step)).items()}
        self.updates += 1
        return norms, wait, {"loss": (loss_sum, 1.0), **{k: tuple(v) for k, v in metrics.items()}}
