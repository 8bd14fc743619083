"""The `heldout` stage: every objective's loss of a finished leaf on dev, with the same items and masks for
every row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from ablate.data.packing import Stream, streams
from ablate.data.streams import STREAMS
from ablate.data.tokenizer import Tokenizer
from ablate.stages.pretrain import load_leaf, read
from ablate.store.run import RunFolder
from ablate.training import distributed
from ablate.training.loop import Model, prepare
from encoders import seeds
from encoders.batch import Vocabulary

BATCHES = 4
LIMITS = {"max_pair_frames": 6000}  # a minute; the same for every row, whatever limits it was trained with


@dataclass(frozen=True, kw_only=True)
class HeldoutStage:
    """Identity of the held-out losses of a leaf: it has no settings, only its parents."""

    tag: ClassVar[str] = "heldout"


def stage(config: HeldoutStage, parents: Mapping[str, RunFolder], run: RunFolder) -> dict:
    """Evaluate a leaf; the result has "final", a mean for each "objective/term"."""
    began = time.monotonic()
    tokenizer = Tokenizer(parents["tokenizer"].sound())
    model = load_leaf(tokenizer, parents["pretrain"])
    dev = streams(*read(parents), 0, **LIMITS)
    final = held_out(model, dev, tokenizer.vocabulary, lambda done: run.progress(done, BATCHES, unit="batches"))
    return {"final": final, "busy_seconds": time.monotonic() - began}


@torch.no_grad()
def held_out(
    model: Model, dev: Mapping[str, Stream], vocabulary: Vocabulary, told: Callable[[int], None] = lambda done: None
) -> dict[str, float]:
    """Every objective's loss and metrics on the streams of a dev split; `told` hears how many batches are done."""
    model.eval()
    sums: distributed.Sums = {}
    cursors = dict.fromkeys(dev, 0)
    for number in range(BATCHES):
        shard = {}
        for name, feed in dev.items():
            (shard[name],), cursors[name] = feed.next_update(cursors[name], STREAMS[name].held_out)
        views = prepare(model, shard, vocabulary, lambda name, number=number: seeds.key(0, f"held out/{name}", number))
        distributed.add(sums, model.mixture(model.encoder, views, views.counts, {})[1])
        told(number + 1)
    return {name: total / count for name, (total, count) in sorted(sums.items()) if count}
