"""Gradient similarities: hand values, noise, which parameters they are over, and what a probe leaves untouched."""

import json

import pytest
import torch
from tiny import ENCODER, World

from ablate.training.conflict import scopes, similarities
from encoders.batch import Vocabulary
from encoders.presets import PRESETS

ALL = {"all": ["w"]}


def whole(gradients):
    return {name: {"w": g} for name, g in gradients.items()}


def test_hand_values():
    a = whole({"x": torch.tensor([3.0, 0.0]), "y": torch.tensor([0.0, 1.0]), "z": torch.tensor([-1.0, 0.0])})
    values = similarities(a, a, ALL)
    assert values["all/x~y/cosine"] == 0 and values["all/x~z/cosine"] == -1 and values["all/x/ceiling"] == 1
    assert values["all/x~z/magnitude"] == pytest.approx(2 * 3 / 10)


def test_noise_that_hides_agreement_is_corrected():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(200_000, generator=generator)

    def noisy() -> torch.Tensor:
        return signal + 1.5 * torch.randn(200_000, generator=generator)

    a, b = ({"x": noisy(), "y": noisy()} for _ in range(2))
    plain = float(torch.cosine_similarity(a["x"], a["y"], dim=0))
    assert plain < 0.35 and similarities(whole(a), whole(b), ALL)["all/x~y/cosine"] == pytest.approx(1, abs=0.03)


def test_pure_noise_is_left_out_and_its_ceiling_is_told():
    generator = torch.Generator().manual_seed(0)
    a, b = (whole({n: torch.randn(10_000, generator=generator) for n in "xy"}) for _ in range(2))
    values = similarities(a, b, ALL)
    assert "all/x~y/cosine" not in values and abs(values["all/x/ceiling"]) < 0.1


def test_each_scope_is_over_its_own_parameters():
    """Two layers that pull apart in one and together in the other are orthogonal in all."""
    one, zero = torch.ones(4), torch.zeros(4)
    a = {"x": {"u": one, "v": one, "w": one}, "y": {"u": one, "v": -one, "w": zero}}
    values = similarities(a, a, {"all": ["u", "v", "w"], "layer_0": ["u"], "layer_1": ["v"], "layer_2": ["w"]})
    assert (values["layer_0/x~y/cosine"], values["layer_1/x~y/cosine"], values["all/x~y/cosine"]) == (1, -1, 0)
    assert not any(name.startswith("layer_2") for name in values)  # only one of them goes through it


def test_scopes_cover_the_parameters_once_per_level():
    from dataclasses import replace

    vocabulary = Vocabulary(20, (1,) * 20, (True,) * 20)
    encoder = ENCODER.build(vocabulary)
    parameters = [f"shared.{name}" for name, _ in encoder.shared.named_parameters()]
    by_scope = scopes(encoder)
    assert list(by_scope)[0] == "all" and by_scope["all"] == parameters
    parts = {name.partition(".")[2] for name in by_scope if "." in name}
    assert parts == {"attention", "ffn", "conv", "norms"}
    for level in ([n for n in by_scope if n.startswith("layer") and "." not in n], [n for n in by_scope if "." in n]):
        assert sorted(p for scope in level for p in by_scope[scope]) == sorted(parameters)
    experts = replace(ENCODER, per_modality=("ffn",)).build(vocabulary)
    assert {name.partition(".")[2] for name in scopes(experts)} == {"", "attention", "conv", "norms"}
    assert scopes(PRESETS["nano_separate"].build(vocabulary)) == {}


def test_a_trunk_logs_conflict_and_trains_as_without(tmp_path, monkeypatch):
    from ablate.training import checkpoint, conflict

    weights = []
    for number, every in enumerate((10, 10_000)):
        monkeypatch.setattr(conflict, "EVERY", every)
        world = World(tmp_path / str(number))
        run = world.run(world.pretrain("contrastive", "masked_speech", "masked_text", steps=20))
        weights.append(checkpoint.of(run).weights)
        logged = {k for line in (run.files / "metrics.jsonl").read_text().splitlines() for k in json.loads(line)}
        for kind in ("raw", "adam"):
            assert (f"conflict/{kind}/layer_1.ffn/masked_text/ceiling" in logged) == (every == 10)
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_nothing_shared_is_nothing_to_compare(tmp_path, monkeypatch):
    from dataclasses import replace

    from ablate.training import conflict
    from encoders.blocks import PARTS

    monkeypatch.setattr(conflict, "EVERY", 1)
    world = World(tmp_path)
    separate = replace(ENCODER, per_modality=PARTS)
    run = world.run(world.pretrain("contrastive", "masked_text", steps=2, encoder=separate))
    assert "conflict" not in (run.files / "metrics.jsonl").read_text()
