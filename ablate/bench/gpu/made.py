"""Made-up batches, and models to train on them: noise for log-mel, random pieces for text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ablate.training.loop import Model, Shard, context
from encoders import seeds
from encoders.batch import Pair, Speech, Text, Vocabulary
from encoders.encoder import EncoderConfig
from objectives.mixture import Mixture, Prepared
from objectives.objective import AbstractObjective, Ports
from objectives.quantizer import TargetsConfig

Build = Callable[[Ports], AbstractObjective]


def vocabulary(size: int) -> Vocabulary:
    """A vocabulary of a size in which every second piece begins a word."""
    return Vocabulary(size, (0,) * 7 + (1,) * (size - 7), tuple(i % 2 == 0 for i in range(size)))


def speech(frames: Sequence[int], seed: int) -> Speech:
    """Utterances of so many frames each."""
    mel = seeds.rng(seeds.key(seed, "bench/gpu/mel")).standard_normal((sum(frames), 80), dtype=np.float32)
    return Speech(torch.from_numpy(mel), tuple(frames), _keys("speech", len(frames), seed))


def text(tokens: Sequence[int], words: Vocabulary, seed: int, ends: bool = True) -> Text:
    """Texts of so many pieces each, of which the first is CLS and the last SEP if they have `ends`."""
    rng = seeds.rng(seeds.key(seed, "bench/gpu/text"))
    ids = torch.from_numpy(rng.integers(words.specials, words.size, sum(tokens)))
    if ends:
        last = torch.tensor(tokens).cumsum(0) - 1
        ids[last + 1 - torch.tensor(tokens)], ids[last] = words.cls, words.sep
    return Text(ids, tuple(tokens), _keys("text", len(tokens), seed))


def pair(frames: Sequence[int], tokens: Sequence[int], words: Vocabulary, seed: int) -> Pair:
    """Pairs of an utterance and a text."""
    return Pair(speech(frames, seed + 1), text(tokens, words, seed + 1))


def _keys(kind: str, count: int, seed: int) -> tuple[int, ...]:
    return tuple(seeds.key(seed, f"bench/gpu/{kind}", i) for i in range(count))


def model(
    encoder: EncoderConfig,
    objectives: Mapping[str, Build],
    targets: Mapping[str, TargetsConfig],
    words: Vocabulary,
    device: torch.device,
) -> Model:
    """An encoder with objectives, on a device: always the same weights. The encoder's are drawn there, so that a large
    one is made in no time.
    """
    torch.manual_seed(0)
    with device:
        built = encoder.build(words)
    ports = Ports(built.width, words, built.embedding, built.stacked, targets)
    codes = {name: _targets(config, ports) for name, config in targets.items()}
    heads = {name: build(ports) for name, build in objectives.items()}
    model = Model(built, Mixture(heads, dict.fromkeys(heads, 1.0), codes))
    return model if device.type == "cpu" else model.to(device)  # fake tensors, which are on the CPU, do not move


def _targets(config: TargetsConfig, ports: Ports) -> nn.Module:
    """Speech targets; those that a stage of its own would fit get random centroids."""
    made: Any = config.build(ports)
    if config.fitted:
        made.use(torch.randn(config.entries, config.width(ports)))
    return made


def prepared(built: Model, shard: Shard, words: Vocabulary, device: torch.device) -> Prepared:
    """The views of a shard, on a device."""
    contexts = {name: context(built.encoder, batch, words, key=1) for name, batch in shard.items()}
    return built.mixture.views(shard, contexts).to(device)
