"""Flat AdamW against torch's own, and schedules by hand."""

import copy

import torch
from torch import nn

from ablate.training import optim
from ablate.training.optim import FlatAdamW, OptimizerConfig


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
        norm = flat.step(0.5)
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
