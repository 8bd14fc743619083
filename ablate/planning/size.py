"""What an update computes and holds, from shapes alone: operations, and bytes of one process. Nothing is allocated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from ablate.data.streams import STREAMS
from encoders.batch import Pair, Speech, Text, View, Vocabulary
from encoders.encoder import EncoderConfig, Work

BYTES_PER_PARAMETER = 16  # weight, gradient, and AdamW's two moments in float32
BASE = 1.0e9  # bytes of a process that has imported everything and opened its data
SMALL = 3e7  # parameters of its layers, about, up to which an encoder is simply made
MARGIN = 1.15  # for heads and temporaries, which are not counted


@dataclass(frozen=True)
class Sizes:
    """What one update holds, and how long its sequences are."""

    speech: float
    """Seconds of speech."""
    text: int
    """Tokens of text."""
    pairs: int
    """Speech-text pairs."""
    utterance: float
    """Seconds of an utterance."""
    document: int
    """Tokens of a text, CLS and SEP included."""

    def inputs(self, reads: Iterable[str]) -> dict[str, Speech | Text | Pair]:
        """Make one update's inputs for each stream that is read and not empty, of equal sequences; contents mean
        nothing.
        """
        made: dict[str, Speech | Text | Pair] = {}
        if "speech" in reads and self.speech:
            made["speech"] = self._speech(max(1, round(self.speech / self.utterance)))
        if "text" in reads and self.text:
            made["text"] = self._text(max(1, round(self.text / self.document)))
        if "pair" in reads and self.pairs:
            made["pair"] = Pair(self._speech(self.pairs), self._text(self.pairs))
        return made

    def only(self, reads: str) -> Sizes:
        """What is held of one stream."""
        kept = {STREAMS[reads].table: getattr(self, STREAMS[reads].table)}
        return replace(self, **{"speech": 0.0, "text": 0, "pairs": 0, **kept})

    @property
    def frames(self) -> int:
        """Mel frames of an utterance."""
        return max(1, round(100 * self.utterance))

    def _speech(self, n: int) -> Speech:
        return Speech(torch.zeros(n * self.frames, 80), (self.frames,) * n, tuple(range(n)))

    def _text(self, n: int) -> Text:
        ids = torch.full((n * self.document,), Vocabulary.specials)  # a piece that may be masked
        return Text(ids, (self.document,) * n, tuple(range(n)))


def activations(encoder: nn.Module, inputs: Speech | Text | Pair) -> int:
    """Bytes that a forward pass keeps for its backward pass, weights left out. Works on fake tensors too."""
    weights = {p.untyped_storage()._cdata for p in encoder.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used twice

    def keep(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return x

    with saved_tensors_hooks(keep, lambda x: x):
        encoding = encoder(View(inputs=inputs))
    del encoding
    return sum(storage.nbytes() for storage in kept.values())


def vocabulary(size: int) -> Vocabulary:
    """A vocabulary of a size, of which nothing else is known."""
    return Vocabulary(size, (0,) * size, (True,) * size)


def short(n: int) -> str:
    """A count as 612 M, 4.2 M, 18.5 k or 960."""
    for unit, letter in ((1e6, " M"), (1e3, " k")):
        if n >= unit:
            return f"{n / unit:.{0 if n >= 1000 * unit else 1}f}{letter}"
    return str(n)


@dataclass(frozen=True)
class Size:
    """Of one update."""

    parameters: int
    flops: float
    """Forward and backward, all shards."""
    bytes: float
    """Weights, gradients, moments, and what one shard keeps for its backward pass."""


@cache
def sequence(encoder: EncoderConfig, pieces: int, stream: str, utterance: float, document: int) -> Size:
    """One utterance, text or pair, of an encoder that counts its parts: all grows with their number, as sequences do
    not see each other.
    """
    sizes = Sizes(speech=utterance, text=document, pairs=1, utterance=utterance, document=document)
    with FakeTensorMode():
        built = encoder.build(vocabulary(pieces))
        kept = activations(built, sizes.inputs([stream])[stream])
        speech = built.subsampled((sizes.frames,)) if stream != "text" else ()
    work = Work(speech=speech, text=(document,) if stream != "speech" else (), together=stream == "pair")
    forward = sum(count.flops for count in built.parts(work).values())
    return Size(sum(p.numel() for p in built.parameters()), 3.0 * forward, float(kept))


@cache
def parameters(encoder: EncoderConfig, pieces: int) -> int:
    """Parameters of an encoder that can be made without contents, as a large one is: that loads much of torch."""
    layers, width = encoder.layers_and_width()
    with torch.device("meta") if 12 * layers * width**2 > SMALL else nullcontext():
        return sum(p.numel() for p in encoder.build(vocabulary(pieces)).parameters())


def length(stream: str, utterance: float, document: int) -> float:
    """Seconds, tokens or pairs of one sequence of a stream."""
    return {"speech": utterance, "text": document, "pair": 1}[stream]


def update(
    encoder: EncoderConfig,
    pieces: int,
    holds: Sequence[tuple[str, float]],
    shards: int,
    utterance: float,
    document: int,
) -> Size:
    """An update that `holds` (stream, seconds or tokens or pairs), one entry for each pass through the encoder."""
    passes = [
        (sequence(encoder, pieces, stream, utterance, document), amount / length(stream, utterance, document))
        for stream, amount in holds
    ]
    parameters = max((one.parameters for one, _ in passes), default=0)
    kept = sum(one.bytes * count for one, count in passes) / shards
    flops = sum(one.flops * count for one, count in passes)
    return Size(parameters, flops, BASE + MARGIN * (BYTES_PER_PARAMETER * parameters + kept))
