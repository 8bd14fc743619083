"""One update of training, traced at any size without a device: what each of its parts computes and holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path

import torch
from torch import nn

from ablate.planning.size import BYTES_PER_PARAMETER, Sizes, vocabulary
from ablate.planning.trace import FAKE, Operation, Trace, on_cuda, traced, with_gradients
from ablate.stages.pretrain import PretrainStage, assembled
from ablate.store.kept import Kept
from ablate.training.loop import Model, context
from encoders.batch import Batch, View
from encoders.encoder import EncoderConfig
from objectives.quantizer import AbstractTargets

OPTIMIZER = 44  # bytes that an update moves for each parameter: gradients zeroed, measured, clipped; AdamW
OWN = ("encoders.", "objectives.")


@dataclass(frozen=True)
class Step:
    """One shard, forward and backward."""

    parameters: int
    """Of the encoder, the objectives and the speech targets."""
    peak: int
    """Bytes that live at most beside weights, gradients and moments."""
    operations: Mapping[Operation, int]

    @property
    def flops(self) -> int:
        return sum(one.flops * count for one, count in self.operations.items())

    @property
    def bytes(self) -> int:
        """All that lives at once, but for what the process itself takes."""
        return BYTES_PER_PARAMETER * self.parameters + self.peak


def optimizer(parameters: int) -> dict[Operation, int]:
    """What ends an update, whatever its number of shards."""
    return {Operation("adamw", 0, OPTIMIZER * parameters, "float32"): 1}


def pretrain(stage: PretrainStage, pieces: int, sizes: Sizes, cuda: bool) -> Step:
    """A shard that holds `sizes`, of pre-training with a vocabulary of `pieces`, as on a CUDA device or on a CPU.

    Views are passed backward one at a time. Each is traced with an encoder that reads nothing else, so that rows share
    what they have in common.
    """
    model, parts = _model(_key(stage), pieces), []
    if any(True for _ in model.encoder.buffers()):  # then the activations of all views live together
        parts.append(_trace(_key(stage), pieces, sizes, cuda))
    else:
        for (reads, _), names in model.mixture.sharing().items():
            parts.append(_trace(_key(_only(stage, reads, names)), pieces, sizes.only(reads), cuda))
    total: Counter[Operation] = Counter()
    for part in parts:
        total.update(part.operations)
    parameters = sum(p.numel() for p in model.parameters())
    return Step(parameters, max((part.peak for part in parts), default=0), total)


def finetune(encoder: EncoderConfig, pieces: int, sizes: Sizes, reads: str, cuda: bool) -> Step:
    """An update of fine-tuning that holds `sizes`, as far as the encoder goes: tasks add what their heads take."""
    parameters = sum(p.numel() for p in _encoder(encoder, pieces).parameters())
    part = _pass(replace(encoder, reads=(reads,)), pieces, sizes.only(reads), reads, cuda)
    return Step(parameters, part.peak, part.operations)


def _known(what: tuple[object, ...], configs: Iterable[object], make: Callable[[], Trace]) -> Trace:
    """What `make` traces of `what`, looked up in the user's cache if all `configs` are of this project's own code."""
    if not all(type(config).__module__.startswith(OWN) for config in configs):
        return make()
    key = ["trace", torch.__version__, code(), *map(repr, (*what, *configs))]
    return Trace.of(_kept().of(key, lambda: make().plain()))


@cache
def _kept() -> Kept:
    return Kept()


@cache
def code() -> str:
    """Identifies the source of all that is traced, and of the tracing."""
    root = Path(__file__).resolve().parents[2]
    files = [path for folder in ("encoders", "objectives", "ablate/planning") for path in (root / folder).glob("*.py")]
    return blake2b(b"".join(path.read_bytes() for path in sorted(files)), digest_size=16).hexdigest()


Key = tuple[EncoderConfig, tuple, tuple]
"""What a model is made of, so that it can be looked up: the encoder, objectives and speech targets by name."""


def _key(stage: PretrainStage) -> Key:
    return stage.encoder, tuple(stage.objectives.items()), tuple(stage.targets.items())


def _only(stage: PretrainStage, reads: str, names: list[str]) -> PretrainStage:
    """The part of pre-training that looks at one view."""
    objectives = {name: stage.objectives[name] for name in names}
    needs = {need for one in objectives.values() for need in one.needs}
    targets = {name: one for name, one in stage.targets.items() if name in needs}
    return PretrainStage(encoder=replace(stage.encoder, reads=(reads,)), objectives=objectives, targets=targets)


@cache
def _model(key: Key, pieces: int) -> Model:
    encoder, objectives, targets = key
    stage = PretrainStage(encoder=encoder, objectives=dict(objectives), targets=dict(targets))
    with FAKE:
        model = assembled(stage, vocabulary(pieces))
        for one in model.mixture.targets.values():
            _fit(one, model.encoder)
    return with_gradients(model).train()


@cache
def _encoder(config: EncoderConfig, pieces: int) -> nn.Module:
    with FAKE:
        built = config.build(vocabulary(pieces))
    return with_gradients(built).train()


def _fit(targets: AbstractTargets, encoder: nn.Module) -> None:
    """Give speech targets that another stage fits what that stage would; a frozen encoder behind them is not traced."""
    config = targets.config
    if not config.fitted:
        return
    stacked = config.input == "stacked"
    width = encoder.stacked if stacked else encoder.width

    def layer(speech) -> torch.Tensor:
        return torch.zeros(sum(encoder.subsampled(speech.lengths)), width)

    targets.use(torch.zeros(config.entries, width), None if stacked else layer)


@cache
def _trace(key: Key, pieces: int, sizes: Sizes, cuda: bool) -> Trace:
    def make() -> Trace:
        model = _model(key, pieces)
        shard = {name: Batch(inputs) for name, inputs in sizes.inputs(model.mixture.streams).items()}
        known = vocabulary(pieces)
        contexts = {name: context(model.encoder, batch, known, 0) for name, batch in shard.items()}
        prepared = model.mixture.views(shard, contexts)
        with on_cuda() if cuda else nullcontext():
            return traced(lambda: model.mixture.backward(model.encoder, prepared, prepared.counts, {}))

    encoder, *named = key
    configs = [encoder, *(config for group in named for _, config in group)]
    return _known((*(name for group in named for name, _ in group), pieces, sizes, cuda), configs, make)


@cache
def _pass(config: EncoderConfig, pieces: int, sizes: Sizes, reads: str, cuda: bool) -> Trace:
    def make() -> Trace:
        encoder, view = _encoder(config, pieces), View(inputs=sizes.inputs([reads])[reads])
        with on_cuda() if cuda else nullcontext():
            return traced(lambda: encoder(view).stages["joint"].sum().backward())

    return _known((pieces, sizes, reads, cuda), [config], make)
