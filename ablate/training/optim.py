"""AdamW over flat buffers: all parameters in one tensor, all gradients in another.

Clipping, the optimizer step and the all-reduce over ranks are each one operation on one tensor, which at small widths
is most of their cost. Parameters stay ordinary module parameters: they are views into the buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with a warm-up-stable-decay schedule (the stable part is the trunk, the decay a leaf of its own)."""

    tag: ClassVar[str] = "adamw"

    lr: float = 2e-3
    """Peak learning rate."""
    warmup: int = 100
    """Updates of linear warm-up, counted from the very first update of the first trunk."""
    beta1: float = 0.9
    """Decay of the first moment."""
    beta2: float = 0.98
    """Decay of the second moment."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    weight_decay: float = 0.01
    """Decoupled weight decay of matrices; vectors (norms, biases) are not decayed."""
    clip: float = 5.0
    """Gradients are scaled down to this norm."""
    final: float = 0.02
    """Learning rate at the end of the decay, as a share of the peak."""


def stable(step: int, warmup: int) -> float:
    """Learning-rate factor of the trunk at 0-based `step`: linear warm-up, then 1."""
    return min(1.0, (step + 1) / max(1, warmup))


def decay(done: int, steps: int, final: float) -> float:
    """Learning-rate factor of a leaf, `done` of `steps` updates in: linear from 1 to `final`."""
    return 1.0 - (1.0 - final) * (done / max(1, steps))


def warmup_decay(step: int, steps: int, warmup: float, final: float = 0.02) -> float:
    """Learning-rate factor of fine-tuning: warm-up over a share of the steps, then linear decay to `final`."""
    first = max(1, round(warmup * steps))
    return (step + 1) / first if step < first else decay(step - first, steps - first, final)


class FlatAdamW:
    """AdamW whose parameters and gradients are views of one flat buffer each.

    `groups` maps a group's name to its named parameters and its peak learning rate. Within a group, matrices are
    decayed and vectors are not. A parameter that receives no gradient in an update has gradient zero. `average` is the
    decay of a moving average of the weights, 0 for none; it is at most (1 + n) / (10 + n) after n updates, so that the
    first weights are soon forgotten.
    """

    def __init__(
        self,
        groups: Mapping[str, tuple[Iterable[tuple[str, nn.Parameter]], float]],
        config: OptimizerConfig,
        average: float = 0.0,
    ):
        self.config = config
        sections: list[tuple[str, float, float, list[tuple[str, nn.Parameter]]]] = []
        for group, (parameters, lr) in groups.items():
            named = list(parameters)
            sections.append((group, lr, config.weight_decay, [(n, p) for n, p in named if p.dim() >= 2]))
            sections.append((group, lr, 0.0, [(n, p) for n, p in named if p.dim() < 2]))
        sections = [s for s in sections if s[3]]
        everything = [p for *_, named in sections for _, p in named]
        size, device = sum(p.numel() for p in everything), everything[0].device
        self.flat = torch.empty(size, device=device)
        self.gradient = torch.zeros(size, device=device)
        self.slices: dict[str, slice] = {}
        self.shapes: dict[str, torch.Size] = {}
        self.peaks: list[tuple[str, float]] = []  # of each section: its group's name and peak learning rate
        optimizer_groups, start = [], 0
        for group, lr, weight_decay, named in sections:
            begin = start
            for name, p in named:
                where = slice(start, start + p.numel())
                self.flat[where].copy_(p.data.reshape(-1))
                p.data = self.flat[where].view(p.shape)
                p.grad = self.gradient[where].view(p.shape)
                self.slices[name], self.shapes[name], start = where, p.shape, where.stop
            part = nn.Parameter(self.flat[begin:start])
            part.grad = self.gradient[begin:start]
            optimizer_groups.append({"params": [part], "lr": lr, "weight_decay": weight_decay})
            self.peaks.append((group, lr))
        self.borders = [0]
        for group in optimizer_groups:
            self.borders.append(self.borders[-1] + group["params"][0].numel())
        self.adamw = torch.optim.AdamW(optimizer_groups, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)
        self.average, self.mean, self.updates = average, self.flat.clone() if average else None, 0

    def zero(self) -> None:
        """Set all gradients to zero."""
        self.gradient.zero_()

    def step(self, factor: float, factors: Mapping[str, float] = MappingProxyType({})) -> Tensor:
        """Clip, step with every group's peak learning rate times `factor`, or times its own among `factors`; return the
        norm before clipping.
        """
        norm = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((self.config.clip / (norm + 1e-6)).clamp(max=1.0))
        for group, (name, peak) in zip(self.adamw.param_groups, self.peaks):
            group["lr"] = peak * factors.get(name, factor)
        self.adamw.step()
        self.updates += 1
        if self.mean is not None:
            decay = min(self.average, (1 + self.updates) / (10 + self.updates))
            self.mean.lerp_(self.flat, 1 - decay)
        return norm

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the parameters be their moving average in this block, where there is one."""
        if self.mean is None:
            yield
            return
        own = self.flat.clone()
        self.flat.copy_(self.mean)
        try:
            yield
        finally:
            self.flat.copy_(own)

    def state(self) -> dict[str, Tensor]:
        """Moments by parameter name, `exp_avg/NAME` and `exp_avg_sq/NAME`, and `average/NAME`; empty before the first
        step.
        """
        moments = self._moments()
        if moments and self.mean is not None:
            moments["average"] = self.mean
        return {
            f"{kind}/{name}": buffer[where].view(self.shapes[name])
            for kind, buffer in moments.items()
            for name, where in self.slices.items()
        }

    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Take moments by name (absent ones start at zero; averages at the weights) after `steps` updates."""
        self.updates = steps
        if self.mean is not None:
            self.mean.copy_(self.flat)
            for name, where in self.slices.items():
                if f"average/{name}" in state:
                    self.mean[where] = state[f"average/{name}"].reshape(-1)
        for group, begin, end in zip(self.adamw.param_groups, self.borders, self.borders[1:]):
            part = group["params"][0]
            entry = {"step": torch.tensor(float(steps), device=part.device)}
            for kind in ("exp_avg", "exp_avg_sq"):
                buffer = torch.zeros_like(part)
                for name, where in self.slices.items():
                    if begin <= where.start < end and f"{kind}/{name}" in state:
                        buffer[where.start - begin : where.stop - begin] = state[f"{kind}/{name}"].reshape(-1)
                entry[kind] = buffer
            self.adamw.state[part] = entry

    def _moments(self) -> dict[str, Tensor]:
        states = [self.adamw.state.get(g["params"][0]) for g in self.adamw.param_groups]
        if not all(states):
            return {}
        return {kind: torch.cat([s[kind] for s in states]) for kind in ("exp_avg", "exp_avg_sq")}
