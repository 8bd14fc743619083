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


def _active(counts: dict[str, int]) -> dict[str, int]:
    """Parameters that each modality meets, token embedding left out."""
    return {m: counts[f"{m}_only"] + counts["shared"] for m in ("speech", "text")}


@pytest.mark.parametrize("base", ["nano", "slam"])
@pytest.mark.parametrize("variant", ["late", "experts", "separate"])
def test_sharing_variants_match_in_depth_and_active_parameters(base, variant):
    shared, other = _build(base, 400), _build(f"{base}_{variant}", 400)
    for modality in ("speech", "text"):
        deep = [len(getattr(e, modality).layers.blocks) + len(e.shared.blocks) for e in (shared, other)]
        assert deep[0] == deep[1]
    one, two = shared.parameters_by_modality(), other.parameters_by_modality()
    assert _active(two) == pytest.approx(_active(one), rel=0.02)
    assert two["shared"] < one["shared"] and two["total"] > 1.1 * (one["total"] - one["embedding"])
    assert (two["shared"] == 0) == (variant == "separate")


@pytest.mark.parametrize("base", ["nano", "slam"])
@pytest.mark.parametrize("variant", ["experts", "separate"])
def test_matched_sharing_variants_match_in_depth_and_total_parameters(base, variant):
    shared, other = _build(base, 400), _build(f"{base}_{variant}_matched", 400)
    assert len(shared.shared.blocks) == len(other.shared.blocks) and shared.width == other.width
    one, two = (e.parameters_by_modality() for e in (shared, other))
    assert two["total"] - two["embedding"] == pytest.approx(one["total"] - one["embedding"], rel=0.02)
    assert max(_active(two).values()) < 0.95 * max(_active(one).values())
