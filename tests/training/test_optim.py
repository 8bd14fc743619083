"""Flat AdamW against torch's own, and schedules by hand."""

import copy

import pytest
import torch
from torch import nn

from ablate.planning.size import vocabulary
from ablate.training import optim
from ablate.training.optim import FlatAdamW, OptimizerConfig, decayed
from encoders.presets import PRESETS


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3))


def losses(net: nn.Module, step: int) -> torch.Tensor:
    x = torch.randn(11, 5, generator=torch.Generator().manual_seed(step))
    return net(x).pow(2).sum()


def test_equals_torch_adamw_with_clipping_and_two_learning_rates():
    config = OptimizerConfig(clip=1.0, weight_decay=0.1)
    ours, theirs = model(), copy.deepcopy(model())
    flat = FlatAdamW(
        {
            "a": (ours[0].named_parameters("0"), 1e-2),
            "b": ([*ours[1].named_parameters("1"), *ours[2].named_parameters("2")], 3e-2),
        },
        config,
    )
    groups = [
        {"params": [theirs[0].weight], "lr": 1e-2, "weight_decay": 0.1},
        {"params": [theirs[0].bias], "lr": 1e-2, "weight_decay": 0.0},
        {"params": [theirs[2].weight], "lr": 3e-2, "weight_decay": 0.1},
        {"params": [theirs[1].weight, theirs[1].bias, theirs[2].bias], "lr": 3e-2, "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps)
    for step in range(5):
        flat.zero()
        losses(ours, step).backward()
        norm = flat.step(0.5)["gradient_norm"]
        reference.zero_grad()
        losses(theirs, step).backward()
        expected = nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in reference.param_groups:
            group.setdefault("peak", group["lr"])
            group["lr"] = group["peak"] * 0.5
        reference.step()
        torch.testing.assert_close(norm, expected)
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b)


def test_state_survives_by_name_and_goes_on_bit_for_bit():
    net = model()
    flat = FlatAdamW({"all": (net.named_parameters(), 1e-2)}, OptimizerConfig(), average=0.9)
    for step in range(3):
        flat.zero()
        losses(net, step).backward()
        flat.step(1.0)
    saved = {k: v.clone() for k, v in net.state_dict().items()}, {k: v.clone() for k, v in flat.state().items()}
    other = model()
    other.load_state_dict(saved[0])
    resumed = FlatAdamW({"all": (other.named_parameters(), 1e-2)}, OptimizerConfig(), average=0.9)
    resumed.load(saved[1], steps=3)
    for n, f in ((net, flat), (other, resumed)):
        f.zero()
        losses(n, 9).backward()
        f.step(1.0)
    for a, b in zip(net.parameters(), other.parameters()):
        assert torch.equal(a, b)
    assert torch.equal(flat.mean, resumed.mean) and not torch.equal(flat.mean, flat.flat)


def test_the_average_of_weights_is_computed_as_said_and_lent_for_a_block():
    net = model()
    flat = FlatAdamW({"all": (net.named_parameters(), 1e-2)}, OptimizerConfig(), average=0.25)
    mean = net[0].weight.detach().clone()
    for step, decay in enumerate((2 / 11, 3 / 12, 0.25)):  # (1 + n) / (10 + n), then .25
        flat.zero()
        losses(net, step).backward()
        flat.step(1.0)
        mean = decay * mean + (1 - decay) * net[0].weight.detach()
    own = net[0].weight.detach().clone()
    with flat.averaged():
        torch.testing.assert_close(net[0].weight.detach(), mean)
    assert torch.equal(net[0].weight, own) and not torch.equal(own, mean)
    plain = FlatAdamW({"all": (model().named_parameters(), 1e-2)}, OptimizerConfig())
    before = plain.flat.clone()
    with plain.averaged():
        assert torch.equal(plain.flat, before)


def test_a_parameter_without_gradient_stays_when_not_decayed():
    net = model()
    flat = FlatAdamW({"all": (net.named_parameters(), 1e-2)}, OptimizerConfig(weight_decay=0.0))
    before = net[2].weight.clone()
    flat.zero()
    net[0](torch.ones(1, 5)).sum().backward()
    flat.step(1.0)
    assert torch.equal(net[2].weight, before) and not torch.equal(net[0].weight, model()[0].weight)


def test_load_state_dict_keeps_the_views():
    net = model()
    flat = FlatAdamW({"all": (net.named_parameters(), 1e-2)}, OptimizerConfig())
    net.load_state_dict({k: torch.full_like(v, 2.0) for k, v in net.state_dict().items()})
    assert bool((flat.flat == 2.0).all())


def test_schedules():
    assert optim.stable(0, 4) == 0.25 and optim.stable(3, 4) == 1.0 and optim.stable(99, 4) == 1.0
    assert optim.decay(0, 10, 0.02) == 1.0 and abs(optim.decay(10, 10, 0.02) - 0.02) < 1e-12
    factors = [optim.warmup_decay(s, 100, 0.1) for s in range(100)]
    assert factors[9] == 1.0 and factors[0] == 0.1 and all(a > b for a, b in zip(factors[10:], factors[11:]))


def test_what_is_clipped_apart_leaves_the_others_alone():
    """Without the last layer's own norm, its huge gradient would scale the others' down."""
    alone, together = model()[:2], model()
    config = OptimizerConfig(clip=1.0)
    first = FlatAdamW({"all": (alone.named_parameters(), 1e-2)}, config)
    rest = [(name, p) for name, p in together.named_parameters() if name.startswith("2.")]
    trained = [(name, p) for name, p in together.named_parameters() if not name.startswith("2.")]
    second = FlatAdamW({"all": (trained, 1e-2), "measured": (rest, 1e-2)}, config, apart=("measured",))
    for step in range(3):
        x = torch.randn(11, 5, generator=torch.Generator().manual_seed(step))
        first.zero(), second.zero()
        alone(x).pow(3).sum().backward()
        hidden = together[:2](x)
        (hidden.pow(3).sum() + 1e3 * together[2](hidden.detach()).pow(2).sum()).backward()
        one, two = first.step(1.0), second.step(1.0)
        assert torch.equal(one["gradient_norm"], two["gradient_norm"]) and two["gradient_norm/measured"] > 1e3
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), together.parameters()))


def steps_of(net, flat, steps):
    for step in steps:
        flat.zero()
        losses(net, step).backward()
        flat.step(1.0)


@pytest.mark.parametrize("beta2", [0.98, 0.999])
def test_what_enters_later_is_stepped_as_by_an_adam_of_its_own(beta2):
    """The last layer joins after 200 updates of the others: with their count its first steps are far too large."""
    config = OptimizerConfig(beta2=beta2, clip=1e9, weight_decay=0.0)
    net = model()
    flat = FlatAdamW({"all": (net.named_parameters(), 1e-3)}, config)
    steps_of(net, flat, range(200))
    state = {name: x.clone() for name, x in flat.state().items() if not name.partition("/")[2].startswith("2.")}
    joined = FlatAdamW({"all": (net.named_parameters(), 1e-3)}, config)
    joined.load(state, steps=200)
    assert {name: joined.entered[name] for name in ("0.weight", "2.weight", "2.bias")} == {
        "0.weight": 0,
        "2.weight": 200,
        "2.bias": 200,
    }
    fresh = copy.deepcopy(net[2])
    reference = torch.optim.AdamW(fresh.parameters(), lr=1e-3, betas=(0.9, beta2), eps=config.eps, weight_decay=0.0)
    for step in range(200, 220):
        joined.zero()
        losses(net, step).backward()
        for ours, theirs in zip(net[2].parameters(), fresh.parameters()):
            theirs.grad = ours.grad.clone()
        joined.step(1.0)
        reference.step()
        for ours, theirs in zip(net[2].parameters(), fresh.parameters()):
            torch.testing.assert_close(ours, theirs)


def test_when_a_section_entered_survives_a_checkpoint_bit_for_bit():
    net = model()
    flat = FlatAdamW(
        {"a": (net[0].named_parameters("0"), 1e-2), "b": (net[2].named_parameters("2"), 1e-2)}, OptimizerConfig()
    )
    steps_of(net, flat, range(3))
    flat.enter("b")
    steps_of(net, flat, range(3, 5))
    other = copy.deepcopy(net)
    again = FlatAdamW(
        {"a": (other[0].named_parameters("0"), 1e-2), "b": (other[2].named_parameters("2"), 1e-2)}, OptimizerConfig()
    )
    again.load({name: x.clone() for name, x in flat.state().items()}, 5, flat.entered)
    assert again.entered == {"0.weight": 0, "0.bias": 0, "2.weight": 3, "2.bias": 3}
    steps_of(net, flat, range(5, 8)), steps_of(other, again, range(5, 8))
    assert torch.equal(flat.flat, again.flat)


def test_a_group_that_is_thawed_is_stepped_as_from_its_first_update():
    config = OptimizerConfig(beta2=0.999, clip=1e9, weight_decay=0.0)
    net, twin = model(), model()
    frozen = FlatAdamW(
        {"encoder": (net[0].named_parameters("0"), 1e-3), "head": (net[2].named_parameters("2"), 0.0)}, config
    )
    net[0].requires_grad_(False)
    steps_of(net, frozen, range(100))
    net[0].requires_grad_(True)
    frozen.enter("encoder")
    fresh = FlatAdamW(
        {"encoder": (twin[0].named_parameters("0"), 1e-3), "head": (twin[2].named_parameters("2"), 0.0)}, config
    )
    steps_of(net, frozen, range(100, 110)), steps_of(twin, fresh, range(100, 110))
    torch.testing.assert_close(net[0].weight, twin[0].weight)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_biases_and_scales_are_not_decayed_and_all_else_is(preset):
    """Of every encoder; u and v of relative positions are biases, though they have two dimensions."""
    with torch.device("meta"):
        encoder = PRESETS[preset].build(vocabulary(100))
    names = {name: decayed(name, p) for name, p in encoder.named_parameters()}
    plain = {name for name, p in encoder.named_parameters() if p.dim() >= 2} - {
        name for name in names if name.endswith(("u_HE", "v_HE"))
    }
    assert {name for name, yes in names.items() if yes} == plain
    assert not any(
        yes for name, yes in names.items() if "bias" in name.rpartition(".")[2] or "norm" in name.split(".")[-2]
    )
