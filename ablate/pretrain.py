"""The `pretrain` stage: a trunk at a stable learning rate, or the decay leaf that ends one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn

from ablate import checkpoint, conflict, distributed, kmeans, optim
from ablate.data.loader import Loader
from ablate.data.packing import TABLES, Stream, streams
from ablate.data.tokenizer import Tokenizer
from ablate.optim import FlatAdamW, OptimizerConfig
from ablate.run import RunFolder
from ablate.stage import parents_of, restored
from ablate.train import Loop, Model, prepare
from encoders import seeds
from encoders.batch import Vocabulary
from encoders.encoder import AbstractEncoder, EncoderConfig
from objectives.mixture import Mixture
from objectives.objective import ObjectiveConfig, Ports
from objectives.targets import TargetsConfig


# Frames, tokens or pairs of dev in each half of the conflict probe. With an eighth of it, no gradient of a nano encoder
# is reproduced by the other half after 1,600 updates.
HALF = {"speech": 9600, "text": 2400, "pair": 48}
HELD_OUT = {"speech": 6000, "text": 1500, "pair": 24}  # of dev in each of the batches that measure a leaf


@dataclass(frozen=True, kw_only=True)
class Update:
    """What one optimizer update holds, per stream; streams that no objective reads are not drawn."""

    speech: float = 24.0
    """Seconds of unlabelled speech."""
    text: int = 400
    """Tokens of unlabelled text."""
    pairs: int = 8
    """Speech-text pairs."""
    shards: int = 1
    """Pieces that go through forward and backward alone; batch statistics are over a shard."""
    bucket: int = 0
    """Items among which those of about one length are brought together; 0 packs them as they are drawn."""


@dataclass(frozen=True, kw_only=True)
class PretrainStage:
    """Identity of a pretrain stage."""

    encoder: EncoderConfig
    objectives: dict[str, ObjectiveConfig]
    """Objectives by name, weights within."""
    targets: dict[str, TargetsConfig] = field(default_factory=dict)
    """Speech targets the objectives need, by name."""
    update: Update = Update()
    optimizer: OptimizerConfig = OptimizerConfig()
    start: int = 0
    """Updates the trunk has behind it when this stage starts."""
    steps: int = 1000
    """Updates of this stage."""
    horizon: int = 1000
    """Updates over which annealed quantities (the Gumbel temperature) run: the length of the row's first trunk."""
    phase: str = "trunk"
    """"trunk" (stable learning rate, keeps optimizer state) or "decay" (learning rate to zero, keeps weights only)."""
    seed: int = 0


def build(config: PretrainStage, tokenizer: Tokenizer, parents: Mapping[str, RunFolder]) -> Model:
    """Make encoder and objectives; each part's initial weights depend on the seed and its name alone.

    Targets that were fitted beforehand take what their stage among `parents` found.
    """
    torch.manual_seed(seeds.key(config.seed, "init/encoder"))
    encoder = config.encoder.build(tokenizer.vocabulary)
    ports = Ports(
        width=encoder.width, vocabulary=tokenizer.vocabulary, embedding=encoder.embedding, targets=config.targets
    )

    def made(kind: str, name: str, part) -> nn.Module:
        torch.manual_seed(seeds.key(config.seed, f"init/{kind}/{name}"))
        return part.build(ports)

    targets = {name: made("targets", name, c) for name, c in config.targets.items()}
    for name, c in config.targets.items():
        if c.fitted:
            targets[name].use(*kmeans.load(parents[f"kmeans/{name}"], tokenizer.vocabulary))
    return Model(
        encoder,
        Mixture(
            {name: made("objective", name, c) for name, c in config.objectives.items()},
            {name: c.weight for name, c in config.objectives.items()},
            targets,
        ),
    ).to(distributed.device())


def run(config: PretrainStage, parents: Mapping[str, RunFolder], run: RunFolder) -> dict:
    """Train a trunk or a leaf; the result has parameter counts, exposure and, for leaves, held-out losses."""
    tokenizer = Tokenizer(parents["tokenizer"].files)
    model = build(config, tokenizer, parents)
    corpus = parents["corpus"].files
    budgets = {"speech": config.update.speech * 100, "text": config.update.text, "pair": config.update.pairs}
    first, last = config.start, config.start + config.steps
    names = model.mixture.streams
    if not last and not all((corpus / "tables" / TABLES[name]).exists() for name in names):
        names = frozenset()  # nothing is trained, so no data are needed; held-out losses are left out
    opened = partial(streams, corpus, parents["tokenizer"].files, names, config.seed, bucket=config.update.bucket)
    loader = Loader(opened, budgets, config.update.shards)
    optimizer = FlatAdamW({"all": (model.named_parameters(), config.optimizer.lr)}, config.optimizer)

    def factor(step: int) -> float:
        if config.phase == "decay":
            return optim.decay(step - first, config.steps, config.optimizer.final)
        return optim.stable(step, config.optimizer.warmup)

    def fraction(step: int) -> float:
        return min(1.0, step / max(1, config.horizon))

    dev = streams(corpus, parents["tokenizer"].files, names, 0, split="dev")
    probe = conflict.Probe(model, dev, HALF, tokenizer.vocabulary)
    loop = Loop(
        model=model, optimizer=optimizer, run=run, vocabulary=tokenizer.vocabulary, seed=config.seed,
        first=first, last=last, update=loader.update, factor=factor,
        fraction=fraction, probe=lambda step: probe.measure(fraction(step), optimizer), probe_every=conflict.EVERY,
    )  # fmt: skip
    # Order of restoring: this run's own checkpoint, else the parent trunk, else fresh weights.
    if "pretrain" in parents:
        inherit(loop, parents["pretrain"])
    step, _ = loop.resume()
    if config.objectives and config.steps:
        with loader:
            loop.fit(step)
    scoring = time.monotonic()
    measured = config.phase == "decay" and names and distributed.rank() == 0
    final = held_out(model, dev, tokenizer.vocabulary) if measured else {}
    result = {
        "parameters": model.encoder.parameters_by_modality(),
        "steps": last,
        "exposure": {name: feed.exposure(loop.cursors.get(name, 0)) for name, feed in loader.feeds.items()},
        "left_out": {name: feed.left_out for name, feed in loader.feeds.items() if feed.left_out},
        "final": final,
        "waiting": loop.waiting,
        "busy_seconds": loop.busy_seconds + time.monotonic() - scoring,
    }
    if config.phase == "decay":
        loop.keep(last, model.state_dict())
    else:
        loop.save(last, last=True)
    return result


def inherit(loop: Loop, parent: RunFolder) -> None:
    """Start from a parent trunk: parts that exist on both sides are loaded, new ones fresh, dropped ones forgotten.

    Raises UserError when the trunk's files are not what its result says, or not of the update at which this starts.
    """
    saved = checkpoint.of(parent, step=loop.first, moments=True)
    own = loop.model.state_dict()
    loop.model.load_state_dict({k: saved.weights[k] if k in saved.weights else v for k, v in own.items()})
    loop.updates, loop.cursors = saved.state["updates"], dict(saved.state["cursors"])
    if loop.updates:
        loop.optimizer.load(saved.moments, loop.updates)


@torch.no_grad()
def held_out(model: Model, dev: Mapping[str, Stream], vocabulary: Vocabulary) -> dict[str, float]:
    """Every objective's loss and metrics on the dev split: the same items and masks for every row."""
    model.eval()
    sums: distributed.Sums = {}
    cursors = dict.fromkeys(dev, 0)
    for number in range(4):
        shard = {}
        for name, feed in dev.items():
            (shard[name],), cursors[name] = feed.next_update(cursors[name], HELD_OUT[name])
        views = prepare(model, shard, vocabulary, lambda name: seeds.key(0, f"held out/{name}", number))
        distributed.add(sums, model.mixture(model.encoder, views, views.counts, 1.0)[1])
    return {name: total / count for name, (total, count) in sorted(sums.items()) if count}


def load_leaf(tokenizer: Tokenizer, leaf: RunFolder) -> Model:
    """Rebuild all of a finished leaf, in evaluation mode: encoder, objectives with their heads, speech targets."""
    model = build(restored(leaf), tokenizer, parents_of(leaf))
    model.load_state_dict(checkpoint.of(leaf).weights)
    return model.eval()


def load_encoder(config: EncoderConfig, vocabulary: Vocabulary, leaf: RunFolder) -> AbstractEncoder:
    """Rebuild a finished leaf's encoder."""
    encoder = config.build(vocabulary)
    encoder.load_state_dict(checkpoint.part(checkpoint.of(leaf).weights, "encoder."))
    return encoder.to(distributed.device())
