"""Our presets as systems to measure: each is a function that does one training step on a batch of items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from ablate.bench import items
from ablate.stages.pretrain import PretrainStage, build
from ablate.training.loop import Loop, Model
from ablate.training.optim import FlatAdamW, OptimizerConfig
from encoders.batch import Batch, Speech, Text, Vocabulary
from encoders.frontend import log_mel, normalise
from encoders.presets import PRESETS
from objectives.contrastive import Contrastive
from objectives.masked_text import MaskedText
from objectives.quantizer import Learned

VOCABULARY = Vocabulary(items.VOCABULARY, (0,) * items.VOCABULARY, (True,) * items.VOCABULARY)
CODES = {"learned": Learned.Config(groups=2, entries=320, dim=256)}  # wav2vec 2.0's
OBJECTIVES = {
    "speech": {"contrastive": Contrastive.Config(at="joint", final_dim=256)},
    "text": {"masked_text": MaskedText.Config(span=1)},
}
Step = Callable[[list[int]], object]  # trains on a batch of items, given by number


def ours(workload: str, shape: str, **changed) -> Step:
    """One of our presets, trained as by a pretrain stage, including log-mel."""
    preset = PRESETS[shape]
    layers = preset.speech_layers + preset.shared_layers
    own = {"reads": ("speech",)} if workload == "speech" else {"reads": ("text",), "shared_layers": layers}
    config = PretrainStage(
        encoder=replace(preset, **own, **changed),
        objectives=OBJECTIVES[workload],
        targets=CODES if workload == "speech" else {},
    )
    return trained(workload, build(config, SimpleNamespace(vocabulary=VOCABULARY), {}))


def trained(workload: str, model: Model) -> Step:
    """Train a model with our objective in our loop."""
    batch = speech if workload == "speech" else text
    taken: list[int] = []
    loop = Loop(
        model=model.train(),
        optimizer=FlatAdamW({"all": (model.named_parameters(), 1e-4)}, OptimizerConfig()),
        run=None,
        vocabulary=VOCABULARY,
        seed=0,
        first=0,
        last=0,
        factor=lambda step: 1.0,
        fraction=lambda step: dict.fromkeys(model.mixture.targets, 0.5),
        update=lambda step, cursors: ([{workload: batch(taken)}], cursors),
    )
    steps = iter(range(1 << 30))

    def step(chosen: list[int]) -> None:
        taken[:] = chosen
        loop.one_update(next(steps))

    return step


def speech(batch: list[int]) -> Batch:
    """Packed log-mel of a batch of utterances."""
    mels = [normalise(log_mel(torch.from_numpy(wave))) for wave in items.waves(batch)]
    return Batch(Speech(torch.cat(mels), tuple(len(mel) for mel in mels), tuple(batch)))


def text(batch: list[int]) -> Batch:
    """Packed ids of a batch of documents, each between CLS and SEP."""
    ends = VOCABULARY.cls, VOCABULARY.sep
    ids = [np.concatenate((ends[:1], ids, ends[1:])) for ids in items.documents(batch, VOCABULARY.specials)]
    return Batch(Text(torch.from_numpy(np.concatenate(ids)), tuple(len(i) for i in ids), tuple(batch)))
