"""The steps, most useful first: a run that is cut short then tells most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One step: the name of its module, the seconds it may take, and what it answers."""

    name: str
    budget: float
    what: str
    home: str = __package__

    @property
    def module(self) -> str:
        return f"{self.home}.{self.name}"


STEPS = (
    Step("environment", 45, "the device, versions, and which attention backends run"),
    Step("attention", 90, "every attention backend against fp64, forward and backward, and its time"),
    Step("agreement", 100, "nano on the CPU and on the device: loss and gradient of every objective"),
    Step("memory", 160, "peak memory and seconds of an update of the 612 M shape, bf16 and fp32"),
    Step("resume", 60, "save, kill, resume: the losses after it beside those of a run without"),
    Step("ranks", 30, "one rank: all-reduce and objects through NCCL (gloo on a CPU)"),
    Step("ceilings", 45, "matrix products in bf16, TF32 and fp32, memory bandwidth, launches"),
)
LIMIT = 535.0  # seconds of all steps together: the sum of their budgets, and a margin
NAMES = tuple(step.name for step in STEPS)
