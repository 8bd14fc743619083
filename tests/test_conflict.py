"""Gradient similarities: hand values, noise, and what a probe leaves untouched."""

import json

import pytest
import torch
from tiny import World

from ablate.conflict import similarities


def test_hand_values():
    a = {"x": torch.tensor([3.0, 0.0]), "y": torch.tensor([0.0, 1.0]), "z": torch.tensor([-1.0, 0.0])}
    found = similarities(a, a)
    assert found["x~y/cosine"] == 0 and found["x~z/cosine"] == -1 and found["x/ceiling"] == 1
    assert found["x~z/magnitude"] == pytest.approx(2 * 3 / 10)


def test_noise_that_hides_agreement_is_corrected():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(200_000, generator=generator)

    def noisy() -> torch.Tensor:
        return signal + 1.5 * torch.randn(200_000, generator=generator)

    a, b = ({"x": noisy(), "y": noisy()} for _ in range(2))
    plain = float(torch.cosine_similarity(a["x"], a["y"], dim=0))
    assert plain < 0.35 and similarities(a, b)["x~y/cosine"] == pytest.approx(1, abs=0.03)


def test_pure_noise_is_left_out():
    generator = torch.Generator().manual_seed(0)
    a, b = ({n: torch.randn(10_000, generator=generator) for n in "xy"} for _ in range(2))
    assert "x~y/cosine" not in similarities(a, b)


def test_a_trunk_logs_conflict_and_trains_as_without(tmp_path, monkeypatch):
    from ablate import checkpoint, conflict

    weights = []
    for number, every in enumerate((10, 10_000)):
        monkeypatch.setattr(conflict, "EVERY", every)
        world = World(tmp_path / str(number))
        world.run(world.corpus), world.run(world.tokenizer)
        run = world.run(world.pretrain("contrastive", "masked_speech", "masked_text", steps=20))
        weights.append(checkpoint.load(run.path / checkpoint.NAME)[0])
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        assert any(k.startswith("conflict/") for line in lines for k in line) == (every == 10)
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
