"""The `pretrain` stage: a trunk at a constant learning rate, or a decay leaf that ends one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Optional

import torch
from torch import nn

from ablate.data.loader import Loader
from ablate.data.mix import Mix
from ablate.data.packing import Stream, streams
from ablate.data.streams import STREAMS
from ablate.data.table import Table
from ablate.data.tokenizer import Tokenizer
from ablate.errors import UserError
from ablate.stages import kmeans, lost, prepare
from ablate.stages.kind import restored
from ablate.store import continuing
from ablate.store.run import RunFolder
from ablate.store.stage import parents_of
from ablate.training import checkpoint, conflict, distributed, optim
from ablate.training.loop import Loop, Model
from ablate.training.loop import prepare as views_of
from ablate.training.optim import FlatAdamW, OptimizerConfig
from ablate.training.update import Update
from encoders import seeds
from encoders.batch import Vocabulary
from encoders.encoder import AbstractEncoder, EncoderConfig
from objectives.mixture import Mixture
from objectives.objective import ObjectiveConfig, Ports
from objectives.targets import TargetsConfig


@dataclass(frozen=True, kw_only=True)
class PretrainStage:
    """Identity of a pretrain stage."""

    tag: ClassVar[str] = "pretrain"

    encoder: EncoderConfig
    objectives: dict[str, ObjectiveConfig]
    """Objectives by name, with their weights."""
    targets: dict[str, TargetsConfig] = field(default_factory=dict)
    """Speech targets that the objectives need, by name."""
    update: Update = Update()
    optimizer: OptimizerConfig = OptimizerConfig()
    start: int = 0
    """Number of updates of the trunk before this stage."""
    steps: int = 1000
    """Number of updates of this stage."""
    joined: dict[str, tuple[int, int]] = field(default_factory=dict, metadata={"absent": "{}"})
    """For each of the speech targets that anneal and that the row's first trunk did not have: the update at which they
    joined, and the number of updates of the trunk that they joined with."""
    horizon: Optional[int] = None
    """Number of updates over which annealing (of the Gumbel temperature) runs: the length of the row's first trunk.
    None if nothing anneals: then a longer trunk is the continuation of a shorter one.
    """
    mix: dict[str, Mix] = field(default_factory=dict, metadata={"absent": "{}"})
    """By stream, how it is drawn from the corpora of its table, where these are mixed."""
    phase: str = "trunk"
    """"trunk" (constant learning rate, keeps optimizer state) or "decay" (learning rate to zero, keeps weights
    only).
    """
    seed: int = 0


def build(config: PretrainStage, tokenizer: Tokenizer, parents: Mapping[str, RunFolder]) -> Model:
    """Make encoder and objectives on this rank's device.

    Targets that were fitted beforehand load the result of their stage among `parents`.
    """
    model = assembled(config, tokenizer.vocabulary)
    for name, c in config.targets.items():
        if c.fitted:
            model.mixture.targets[name].use(*kmeans.load(parents[f"kmeans/{name}"], tokenizer.vocabulary))
    return model.to(distributed.device())


def assembled(config: PretrainStage, vocabulary: Vocabulary) -> Model:
    """Make encoder and objectives; each part's initial weights depend only on the seed and the part's name."""
    torch.manual_seed(seeds.key(config.seed, "init/encoder"))
    encoder = config.encoder.build(vocabulary)
    ports = Ports(
        width=encoder.width,
        vocabulary=vocabulary,
        embedding=encoder.embedding,
        stacked=encoder.stacked,
        targets=config.targets,
    )

    def made(kind: str, name: str, part) -> nn.Module:
        torch.manual_seed(seeds.key(config.seed, f"init/{kind}/{name}"))
        return part.build(ports)

    targets = {name: made("targets", name, c) for name, c in config.targets.items()}
    return Model(
        encoder,
        Mixture(
            {name: made("objective", name, c) for name, c in config.objectives.items()},
            {name: c.weight for name, c in config.objectives.items()},
            targets,
        ),
    )


def stage(config: PretrainStage, parents: Mapping[str, RunFolder], run: RunFolder) -> dict:
    """Train a trunk or a leaf; the result has parameter counts and exposure."""
    tokenizer = Tokenizer(parents["tokenizer"].sound())
    model = build(config, tokenizer, parents)
    budgets = {name: stream.of(config.update) * stream.per_unit for name, stream in STREAMS.items()}
    first, last = config.start, config.start + config.steps
    data = partial(streams, *read(parents), **config.update.limits(), mixes=config.mix)
    loader = Loader(partial(data, config.seed, bucket=config.update.bucket), budgets, config.update.shards)
    tell(loader.feeds)
    trained = bool(config.objectives and config.steps)
    missed = lost.before(model, loader.feeds, tokenizer.vocabulary) if trained else []
    learning = reached(model, loader, tokenizer.vocabulary) if trained else set()
    optimizer = FlatAdamW(groups(model, config, learning), config.optimizer, apart=("measured",))

    def factor(step: int) -> float:
        if config.phase == "decay":
            return optim.decay(step - first, config.steps, config.optimizer.final)
        return optim.stable(step, config.optimizer.warmup)

    def fraction(step: int) -> dict[str, float]:
        return {name: annealed(config, name, step) for name in config.targets}

    probe = probing(model, data(0), config.update, tokenizer.vocabulary) if trained else None
    loop = Loop(
        model=model,
        optimizer=optimizer,
        run=run,
        vocabulary=tokenizer.vocabulary,
        seed=config.seed,
        first=first,
        last=last,
        update=loader.update,
        factor=factor,
        fraction=fraction,
        probe=probe and (lambda step: probe.measure(fraction(step), optimizer)),
        probe_every=conflict.EVERY,
    )
    if "pretrain" in parents:
        inherit(loop, parents["pretrain"])
    step, continued = begin(loop, config, run)
    loop.extra = lambda: ({}, continued)
    if trained:
        with loader:
            loop.fit(step)
    heard = trained and config.phase == "decay"
    result = {
        **continued,
        "parameters": model.encoder.parameters_by_modality(),
        "steps": last,
        "exposure": {name: feed.exposure(loop.cursors.get(name, 0)) for name, feed in loader.feeds.items()},
        "supply": {name: feed.supply() for name, feed in loader.feeds.items()},
        "lost": missed + (lost.after(model, loader.feeds, tokenizer.vocabulary) if heard else []),
        "waiting": loop.waiting,
        "busy_seconds": loop.busy_seconds,
    }
    if config.phase == "decay":
        loop.keep(last, model.state_dict())
    else:
        loop.save(last, last=True)
        if config.horizon is None:
            continuing.note(run, config.steps)
    return result


def begin(loop: Loop, config: PretrainStage, run: RunFolder) -> tuple[int, dict]:
    """Restore this run's own checkpoint, else a shorter trunk of the same training; else the weights stay as they are.

    Returns the update to go on from, and what the result says of a trunk that is continued.
    """
    step, saved = loop.resume()
    continued = saved.state["extra"] if saved else {}
    if saved is None and config.horizon is None and config.phase == "trunk":
        for shorter in distributed.from_first(
            continuing.shorter(run.root, run.identity())
        ):  # all ranks try the same ones
            try:
                step = go_on(loop, RunFolder(run.root, run.kind, shorter))
            except UserError as error:  # another one may do, or none: training then only takes longer
                print(f"This trunk does not continue from {shorter}: {error}", flush=True)
                continue
            return step, {"continued": {"id": shorter, "steps": step - config.start}}
    return step, continued


def probing(model: Model, feeds: Mapping[str, Stream], update: Update, vocabulary: Vocabulary) -> conflict.Probe | None:
    """The comparison of the objectives' gradients, if the encoder says which parameters are shared."""
    if not model.encoder.offers("shared_parameters"):
        print(f"Gradients are not compared: {type(model.encoder).__name__} has no shared_parameters.", flush=True)
        return None
    budgets = {name: stream.probed for name, stream in STREAMS.items()}
    most = {name: stream.of(update) * stream.per_unit / update.shards for name, stream in STREAMS.items()}
    return conflict.Probe(model, feeds, budgets, most, vocabulary)


def tell(feeds: Mapping[str, Stream]) -> None:
    """Print what the streams leave out of their tables, and how they are mixed."""
    for name, feed in feeds.items():
        if len(feed.shares):
            mixed = ", ".join(f"{share:.1%} {corpus}" for corpus, share in zip(feed.names, feed.shares))
            print(f"{name}: of the {feed.unit} drawn, {mixed}", flush=True)
        for reason, loss in feed.left_out.items():
            print(f"{name}: {loss.items} left out, {loss.share:.1%} of the {feed.unit}: {reason}", flush=True)
        for how, loss in feed.shortened().items():
            print(f"{name}: {loss.items} {how}", flush=True)


def reached(model: Model, loader: Loader, vocabulary: Vocabulary) -> set[str]:
    """Names of the parameters that receive a gradient from the objectives, found on a shard of the first update in
    which each objective has terms; if there is no such shard, the names of all parameters.
    """
    model.eval()
    model.mixture.targets.train()  # in evaluation mode codes are hard, and what chose them receives no gradient
    first = {name: feed.drawn(0, loader.budgets[name], loader.shards)[0] for name, feed in loader.feeds.items()}
    for number in range(loader.shards):
        shard = {name: loader.feeds[name].collate(draws[number]) for name, draws in first.items()}
        made = views_of(model, shard, vocabulary, lambda name: seeds.key(0, f"reached/{name}"))
        if all(
            any(made.counts.get(f"{o}/{t}") for t in one.term_weights) for o, one in model.mixture.objectives.items()
        ):
            model.mixture.backward(model.encoder, made, made.counts, {})
            names = {name for name, p in model.named_parameters() if p.grad is not None}
            model.zero_grad()
            return names
    return {name for name, _ in model.named_parameters()}


def groups(
    model: Model, config: PretrainStage, learning: Collection[str]
) -> dict[str, tuple[list[tuple[str, nn.Parameter]], float]]:
    """Parameters that are trained, and those of heads that only measure, with their peak learning rate.

    A parameter that is not in `learning` (text modules in speech-only training, codes that no loss trains) is left out:
    weight decay would shrink it. It enters as new in the stage that trains it again. If `learning` is empty, all
    parameters are included.
    """
    measured = tuple(f"mixture.objectives.{name}." for name, one in config.objectives.items() if not one.weight)
    named: dict[str, list[tuple[str, nn.Parameter]]] = {"all": [], "measured": []}
    for name, parameter in model.named_parameters():
        if not learning or name in learning or name.startswith("mixture.objectives."):
            named["measured" if name.startswith(measured) else "all"].append((name, parameter))
    return {group: (parameters, config.optimizer.lr) for group, parameters in named.items()}


def annealed(config: PretrainStage, targets: str, step: int) -> float:
    """How far speech targets are annealed at a step, from 0 to 1: over the first trunk that has them."""
    first, updates = config.joined.get(targets, (0, config.horizon))
    return 0.0 if updates is None else min(1.0, max(0, step - first) / max(1, updates))


def go_on(loop: Loop, shorter: RunFolder) -> int:
    """Continue a shorter trunk of the same training where it ended, including its log; return its last update.

    Raises UserError if its files do not match its result.
    """
    saved, log = checkpoint.of(shorter, moments=True), shorter.checked("metrics.jsonl").read_bytes()
    loop.take_up(saved)
    loop.run.write_bytes("metrics.jsonl", log)
    return saved.step


def inherit(loop: Loop, parent: RunFolder) -> None:
    """Start from a parent trunk: modules that both have are loaded, new ones are fresh, the others are dropped.

    Raises UserError if the trunk's files do not match its result, or are not of the update at which this stage starts,
    or were trained in another precision.
    """
    saved = checkpoint.of(parent, step=loop.first, moments=True)
    loop.must_match(saved)
    own = loop.model.state_dict()
    loop.model.load_state_dict({k: saved.weights[k] if k in saved.weights else v for k, v in own.items()})
    loop.updates, loop.cursors = saved.state["updates"], dict(saved.state["cursors"])
    if loop.updates:
        loop.optimizer.load(saved.moments, loop.updates, saved.state["entered"])


def read(parents: Mapping[str, RunFolder]) -> tuple[dict[str, Table], dict[str, Path]]:
    """The tables that a stage starts from, and the folders of their texts as ids, by stream."""
    tables, ids = prepare.tables(parents), prepare.below(parents, "tokens")
    named = {name: stream.table for name, stream in STREAMS.items() if stream.table in tables}
    return {name: tables[t] for name, t in named.items()}, {
        name: ids[t].sound() for name, t in named.items() if t in ids
    }


def load_leaf(tokenizer: Tokenizer, leaf: RunFolder) -> Model:
    """Rebuild a finished leaf completely, in evaluation mode: encoder, objectives with their heads, speech targets."""
    model = build(restored(leaf, PretrainStage), tokenizer, parents_of(leaf))
    model.load_state_dict(checkpoint.of(leaf).weights)
    return model.eval()


def load_encoder(config: EncoderConfig, vocabulary: Vocabulary, leaf: RunFolder) -> AbstractEncoder:
    """Rebuild a finished leaf's encoder."""
    encoder = config.build(vocabulary)
    encoder.load_state_dict(checkpoint.part(checkpoint.of(leaf).weights, "encoder."))
    return encoder.to(distributed.device())
