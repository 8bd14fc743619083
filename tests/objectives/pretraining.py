"""A small encoder and random packs for tests of the pre-training objectives."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from encoders import seeds
from encoders.batch import Batch, Layout, Pair, Speech, Text, View, Vocabulary
from encoders.encoding import Encoding
from objectives.objective import Ports, ViewContext
from objectives.quantizer import AbstractTargets
from objectives.targets import TARGETS

SIZE = 50
VOCABULARY = Vocabulary(SIZE, (0,) * 7 + tuple(range(1, SIZE - 6)), tuple(i % 3 == 0 for i in range(SIZE)))
WIDTH = 16


def subsampled(frames: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(max(1, n // 4) for n in frames)


def speech(*frames: int, seed: int = 0) -> Speech:
    mel_FM = torch.randn(sum(frames), 80, generator=torch.Generator().manual_seed(seed))
    return Speech(mel_FM, frames, tuple(seeds.key(seed, "speech", i) for i in range(len(frames))))


def text(*pieces: int, seed: int = 0) -> Text:
    """Texts of so many pieces, CLS and SEP around them."""
    rng = np.random.default_rng(seed)
    bodies = [[4, *rng.integers(7, SIZE, n), 5] for n in pieces]
    return Text(
        torch.tensor([i for body in bodies for i in body]),
        tuple(map(len, bodies)),
        tuple(seeds.key(seed, "text", i) for i in range(len(pieces))),
    )


def context(inputs, key: int = 0) -> ViewContext:
    sound = inputs if isinstance(inputs, Speech) else getattr(inputs, "speech", None)
    lengths = subsampled(sound.lengths) if isinstance(sound, Speech) else ()
    return ViewContext(lengths, VOCABULARY, key)


def view(spec, inputs, key: int = 0) -> View:
    return spec.build(Batch(inputs), context(inputs, key))


class FakeEncoder(nn.Module):
    """Every stage is there and depends on the input; masked speech features become zero; calls are counted."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(SIZE, WIDTH)
        self.front, self.tower, self.top = nn.Linear(320, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.calls = 0

    def forward(self, view: View) -> Encoding:
        self.calls += 1
        inputs, stages, parts, lengths = view.inputs, {}, {}, {}
        sound = inputs if isinstance(inputs, Speech) else getattr(inputs, "speech", None)
        if isinstance(sound, Speech):
            lengths["speech"] = subsampled(sound.lengths)
            pieces = zip(sound.mel_FM.split(sound.lengths), lengths["speech"])
            stacked_TC = torch.cat([mel[: n * 4].reshape(n, 320) for mel, n in pieces])
            features_TD = self.front(stacked_TC)
            x_TD = features_TD
            if view.speech_masked_I is not None:
                x_TD = x_TD.index_fill(0, view.speech_masked_I, 0.0)
            parts["speech"] = self.tower(x_TD)
            stages = {"stacked": stacked_TC, "features": features_TD, "speech_tower": parts["speech"]}
        words = inputs if isinstance(inputs, Text) else getattr(inputs, "text", None)
        if isinstance(words, Text):
            lengths["text"], parts["text"] = words.lengths, self.embedding(words.ids_S)
        order = [m for m in (("text", "speech") if view.text_first else ("speech", "text")) if m in parts]
        rows = zip(*(parts[m].split(lengths[m]) for m in order))
        segments = [segment for row in rows for segment in row]
        together = len(order) if not view.apart else 1
        layout = Layout(tuple(map(len, segments)), tuple(order) * (len(segments) // len(order)), together)
        packed = torch.cat(segments).split(layout.sequence_lengths)
        stages["joint"] = torch.cat([self.top(x + x.mean(0)).tanh() for x in packed])
        return Encoding(stages, layout)


def ports(encoder: FakeEncoder, **targets) -> Ports:
    return Ports(WIDTH, VOCABULARY, encoder.embedding, targets=targets or dict(TARGETS))


def pair(*sizes: tuple[int, int], seed: int = 0) -> Pair:
    """Pairs of (frames, pieces)."""
    return Pair(speech(*(f for f, _ in sizes), seed=seed), text(*(p for _, p in sizes), seed=seed + 1))


def coder(config, ports: Ports) -> AbstractTargets:
    """Speech targets, ready to code: what is fitted beforehand gets random centroids."""
    targets = config.build(ports)
    if config.fitted:
        targets.use(torch.randn(config.entries, 320, generator=torch.Generator().manual_seed(0)))
    return targets
