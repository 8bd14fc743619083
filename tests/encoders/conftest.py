"""Small random batches, and an encoder of any shape over a vocabulary of 40."""

from collections.abc import Callable

import pytest
import torch

from encoders.batch import Speech, Text, Vocabulary
from encoders.joint import Joint

VOCABULARY = Vocabulary(40, (0,) * 40, (True,) * 40)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def speech() -> Callable[..., Speech]:
    def make(*frames: int) -> Speech:
        return Speech(torch.randn(sum(frames), 80), frames, tuple(range(len(frames))))

    return make


@pytest.fixture
def text() -> Callable[..., Text]:
    def make(*lengths: int) -> Text:
        return Text(torch.randint(7, 40, (sum(lengths),)), lengths, tuple(range(len(lengths))))

    return make


@pytest.fixture
def joint() -> Callable[..., Joint]:
    def make(**fields) -> Joint:
        small = {"width": 16, "heads": 2, "ffn": 24, "groups": 2, "kernel": 5, "frontend_channels": 3}
        return Joint.Config(**small | fields).build(VOCABULARY)

    return make
