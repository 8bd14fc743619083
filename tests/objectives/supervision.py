"""Small encodings and references for the tests of supervised objectives."""

from __future__ import annotations

import torch
from torch import Tensor

from encoders.batch import Layout, Speech, Text, View, Vocabulary
from encoders.encoding import Encoding
from objectives.objective import Ports


def vocabulary(size: int = 12) -> Vocabulary:
    return Vocabulary(size, (0,) * 7 + (1,) * (size - 7), (True,) * size)


def ports(width: int = 8, size: int = 12) -> Ports:
    return Ports(width, vocabulary(size), None)


def encoding(lengths: tuple[int, ...], modality: str = "speech", width: int = 8, seed: int = 0) -> Encoding:
    x_ND = torch.randn(sum(lengths), width, generator=torch.Generator().manual_seed(seed))
    return Encoding({"joint": x_ND}, Layout(lengths, (modality,) * len(lengths)))


def part(whole: Encoding, b: int) -> Encoding:
    """Sequence `b` of an encoding, alone."""
    lengths = whole.layout.lengths
    start = sum(lengths[:b])
    x_ND: Tensor = whole.stages["joint"][start : start + lengths[b]]
    return Encoding({"joint": x_ND}, Layout((lengths[b],), (whole.layout.modalities[b],)))


def text(*lines: list[int]) -> Text:
    return Text(torch.tensor(sum(lines, []), dtype=torch.long), tuple(map(len, lines)), (0,) * len(lines))


def view(references: dict, lengths: tuple[int, ...]) -> View:
    """A view of speech of so many positions; the mel itself is not looked at by scores."""
    inputs = Speech(torch.zeros(0, 80), lengths, (0,) * len(lengths))
    return View(inputs=inputs, references=references, speech_lengths=lengths)
