"""What an update computes and holds, from shapes alone: operations, and bytes of one process. Nothing is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from torch._subclasses.fake_tensor import FakeTensorMode

from ablate.describe import BYTES_PER_PARAMETER, Sizes, activations, vocabulary
from encoders.count import Work, parts
from encoders.joint import Joint

BASE = 1.0e9  # bytes of a process that has imported everything and opened its data
MARGIN = 1.15  # for heads and temporaries, which are not counted


@dataclass(frozen=True)
class Size:
    """Of one update."""

    parameters: int
    flops: float
    """Forward and backward, all shards."""
    bytes: float
    """Weights, gradients, moments, and what one shard keeps for its backward pass."""


@cache
def sequence(encoder: Joint.Config, pieces: int, stream: str, utterance: float, document: int) -> Size:
    """One utterance, text or pair: all grows with their number, as sequences do not see each other."""
    sizes = Sizes(speech=utterance, text=document, pairs=1, utterance=utterance, document=document)
    with FakeTensorMode():
        built = encoder.build(vocabulary(pieces))
        kept = activations(built, sizes.inputs([stream])[stream])
        speech = built.subsampled((sizes.frames,)) if stream != "text" else ()
    work = Work(speech=speech, text=(document,) if stream != "speech" else (), together=stream == "pair")
    forward = sum(count.flops for count in parts(built, work).values())
    return Size(sum(p.numel() for p in built.parameters()), 3.0 * forward, float(kept))


def update(
    encoder: Joint.Config, pieces: int, holds: Sequence[tuple[str, float]], shards: int, utterance: float, document: int
) -> Size:
    """An update that `holds` (stream, seconds or tokens or pairs), one entry for each pass through the encoder."""
    length = {"speech": utterance, "text": document, "pair": 1}
    passes = [(sequence(encoder, pieces, stream, utterance, document), amount / length[stream]) for stream, amount in holds]
    parameters = max((one.parameters for one, _ in passes), default=0)
    kept = sum(one.bytes * count for one, count in passes) / shards
    flops = sum(one.flops * count for one, count in passes)
    return Size(parameters, flops, BASE + MARGIN * (BYTES_PER_PARAMETER * parameters + kept))
