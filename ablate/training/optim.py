"""AdamW over flat buffers: all parameters in one tensor, all gradients in another.

Clipping, the optimizer step and the all-reduce over ranks are each one operation on one tensor; for small models that
saves most of their cost. Parameters stay ordinary module parameters: they are views into the buffer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from encoders.ranges import Fraction, Natural, NonNegative, Positive, Share


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with a warm-up-stable-decay schedule (the stable part is the trunk; the decay is a leaf of its own)."""

    tag: ClassVar[str] = "adamw"

    lr: Positive = 2e-3
    """Peak learning rate."""
    warmup: Natural = 100
    """Updates of linear warm-up, counted from the very first update of the first trunk."""
    beta1: Fraction = 0.9
    """Decay rate of the first moment."""
    beta2: Fraction = 0.98
    """Decay rate of the second moment."""
    eps: Positive = 1e-8
    """Added to the root of the second moment."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay of matrices; vectors (norms, biases) are not decayed."""
    clip: Positive = 5.0
    """Maximum gradient norm; larger gradients are scaled down to it."""
    final: Share = 0.02
    """Learning rate at the end of the decay, as a share of the peak."""


def stable(step: int, warmup: int) -> float:
    """Learning-rate factor of the trunk at 0-based `step`: linear warm-up, then 1."""
    return min(1.0, (step + 1) / max(1, warmup))


def decay(done: int, steps: int, final: float) -> float:
    """Learning-rate factor of a leaf after `done` of `steps` updates: linear from 1 to `final`."""
    return 1.0 - (1.0 - final) * (done / max(1, steps))


def warmup_decay(step: int, steps: int, warmup: float, final: float = 0.02) -> float:
    """Learning-rate factor of fine-tuning: warm-up over a share of the steps, then linear decay to `final`."""
    first = max(1, round(warmup * steps))
    return (step + 1) / first if step < first else decay(step - first, steps - first, final)


MOMENTS = ("exp_avg", "exp_avg_sq")
BIASES = ("u_HE", "v_HE")  # one vector per head, added to queries: biases, although they have two dimensions


def decayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies to a parameter: to matrices and embedding tables, not to biases and scales."""
    return parameter.dim() >= 2 and name.rpartition(".")[2] not in BIASES


@dataclass(frozen=True)
class Section:
    """Parameters of one group with the same weight decay."""

    group: str
    lr: float
    """Peak learning rate."""
    weight_decay: float
    names: tuple[str, ...]


class FlatAdamW:
    """AdamW whose parameters and gradients are views of one flat buffer each.

    `groups` maps a group's name to its named parameters and its peak learning rate. `decayed` says which of them have
    weight decay. Groups named in `apart` are each clipped by their own norm, all others together by their joint norm.
    A parameter that receives no gradient in an update has gradient zero. `average` is the decay rate of a moving
    average of the weights, 0 for none; it is at most (1 + n) / (10 + n) after n updates, so that the initial weights
    are soon forgotten.

    Adam's bias correction (Kingma and Ba 2015, section 3) counts a parameter's updates from its `entered`: 0, or the
    update after which it joined a training run already under way, or was unfrozen. Counted from 0 instead, the first
    steps from moments at zero would be too large: up to 1.5 times at beta2 = .98, 5.8 times at .999.
    """

    def __init__(
        self,
        groups: Mapping[str, tuple[Iterable[tuple[str, nn.Parameter]], float]],
        config: OptimizerConfig,
        average: float = 0.0,
        apart: Sequence[str] = (),
    ):
        self.config = config
        self.sections: list[Section] = []  # in the order of the buffer
        everything: list[nn.Parameter] = []
        for group, (parameters, lr) in groups.items():
            named = list(parameters)
            for yes in (True, False):
                own = {name: p for name, p in named if decayed(name, p) is yes}
                if own:
                    self.sections.append(Section(group, lr, config.weight_decay * yes, tuple(own)))
                    everything += own.values()
        size, device = sum(p.numel() for p in everything), everything[0].device
        self.flat = torch.empty(size, device=device)
        self.gradient = torch.zeros(size, device=device)
        self.slices: dict[str, slice] = {}
        self.shapes: dict[str, torch.Size] = {}
        bounds: dict[str, list[int]] = {}  # range of what is clipped together, by the name of its norm
        start, left = 0, iter(everything)
        for section in self.sections:
            begin = start
            for name, p in zip(section.names, left):
                where = slice(start, start + p.numel())
                self.flat[where].copy_(p.data.reshape(-1))
                p.data = self.flat[where].view(p.shape)
                p.grad = self.gradient[where].view(p.shape)
                self.slices[name], self.shapes[name], start = where, p.shape, where.stop
            norm = f"gradient_norm/{section.group}" if section.group in apart else "gradient_norm"
            bounds.setdefault(norm, [begin, start])[1] = start
        self.clipped = {norm: self.gradient[begin:end] for norm, (begin, end) in bounds.items()}
        assert sum(map(len, self.clipped.values())) == size, "groups that are clipped apart come last"
        self.entered = dict.fromkeys(self.slices, 0)
        self.average, self.mean, self.updates = average, self.flat.clone() if average else None, 0
        self._begin({})

    def _begin(self, state: Mapping[str, Tensor]) -> None:
        """Create the optimizer from moments by name; parameters of a section that entered together form one tensor."""
        groups, runs = [], []
        for section in self.sections:
            parts = []
            for _, run in itertools.groupby(section.names, key=self.entered.__getitem__):
                members = list(run)
                where = self._span(members)
                part = nn.Parameter(self.flat[where])
                part.grad = self.gradient[where]
                parts.append(part)
                runs.append((part, members))
            groups.append({"params": parts, "weight_decay": section.weight_decay})
        betas, self.parts = (self.config.beta1, self.config.beta2), runs
        self.adamw = torch.optim.AdamW(groups, betas=betas, eps=self.config.eps, fused=True)
        for part, members in runs:
            age = self.updates - self.entered[members[0]]
            if not age:
                continue
            kept = {kind: [state[f"{kind}/{name}"].reshape(-1) for name in members] for kind in MOMENTS}
            self.adamw.state[part] = {
                "step": torch.tensor(float(age), device=part.device),
                **{kind: torch.cat(tensors).to(part.device) for kind, tensors in kept.items()},
            }

    def _span(self, names: Sequence[str]) -> slice:
        """Slice of the buffer that holds these adjacent parameters."""
        return slice(self.slices[names[0]].start, self.slices[names[-1]].stop)

    def zero(self) -> None:
        """Set all gradients to zero."""
        self.gradient.zero_()

    def step(self, factor: float, factors: Mapping[str, float] = MappingProxyType({})) -> dict[str, Tensor]:
        """Clip, then step with every group's peak learning rate times its own factor in `factors`, or else `factor`.
        Return the norms before clipping: "gradient_norm", and "gradient_norm/GROUP" for each group clipped apart.
        """
        norms = {}
        for name, gradient in self.clipped.items():
            norms[name] = torch.linalg.vector_norm(gradient)
            gradient.mul_((self.config.clip / (norms[name] + 1e-6)).clamp(max=1.0))
        for group, section in zip(self.adamw.param_groups, self.sections):
            group["lr"] = section.lr * factors.get(section.group, factor)
        self.adamw.step()
        self.updates += 1
        if self.mean is not None:
            decay = min(self.average, (1 + self.updates) / (10 + self.updates))
            self.mean.lerp_(self.flat, 1 - decay)
        return norms

    def enter(self, group: str) -> None:
        """Let a group start here, with moments at zero: its parameters were frozen so far."""
        state = self.state()
        for section in self.sections:
            self.entered |= dict.fromkeys(section.names if section.group == group else (), self.updates)
        self._begin(state)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the parameters by their moving average within this block, if there is one."""
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

    def second_moment(self, name: str) -> Tensor | None:
        """The second moment of a parameter, flat, not copied; None before its first update."""
        for part, members in self.parts:
            if name in members and part in self.adamw.state:
                start, where = self._span(members).start, self.slices[name]
                return self.adamw.state[part]["exp_avg_sq"][where.start - start : where.stop - start]
        return None

    def load(self, state: Mapping[str, Tensor], steps: int, entered: Mapping[str, int] = MappingProxyType({})) -> None:
        """Continue after `steps` updates: moments by name, and after which update each parameter `entered` (default 0).
        Parameters without moments enter now; missing averages start at the weights.
        """
        self.updates = steps
        if self.mean is not None:
            self.mean.copy_(self.flat)
            for name, where in self.slices.items():
                if f"average/{name}" in state:
                    self.mean[where] = state[f"average/{name}"].reshape(-1)
        known = {name: entered.get(name, 0) for name in self.slices if f"{MOMENTS[0]}/{name}" in state}
        self.entered = {name: known.get(name, steps) for name in self.slices}
        self._begin(state)

    def _moments(self) -> dict[str, Tensor]:
        """First and second moments over the whole buffer, zero for parameters that entered just now; empty before the
        first step.
        """
        if not self.updates:
            return {}
        moments = {kind: torch.zeros_like(self.flat) for kind in MOMENTS}
        for part, members in self.parts:
            where = self._span(members)
            for kind in MOMENTS if part in self.adamw.state else ():
                moments[kind][where] = self.adamw.state[part][kind]
        return moments
