"""Presets build; the paper's shape has the paper's size."""

import pytest
import torch

from encoders.batch import Vocabulary
from encoders.presets import PRESETS


def _build(name: str, size: int):
    with torch.device("meta"):
        return PRESETS[name].build(Vocabulary(size, (0,) * size, (True,) * size))


def test_slam_has_612_million_parameters():
    counts = _build("slam", 32_000).parameters_by_modality()
    assert counts["total"] == pytest.approx(612e6, rel=0.01)
    assert counts["embedding"] == 32_768_000


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build(name):
    encoder = _build(name, 400)
    assert len(encoder.shared.blocks) == PRESETS[name].shared_layers


def test_sizes_of_the_capacity_sweep_rise():
    sizes = [_build(name, 400).parameters_by_modality()["shared"] for name in ("nano_narrow", "nano", "nano_wide")]
    assert sizes[0] * 3 < sizes[1] and sizes[1] * 3 < sizes[2]
