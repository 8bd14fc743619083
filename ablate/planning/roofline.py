"""How long a GPU takes for operations: each is bound by products, by memory or by its launch, whichever is slowest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ablate.planning.trace import Operation

PRODUCTS, BANDWIDTH = 0.7, 0.8  # shares of the peaks that kernels reach, assumed
LAUNCH = 2.5e-6  # seconds between two kernels of a queue, assumed


@dataclass(frozen=True)
class Device:
    """A kind of GPU by its data sheet, without sparsity."""

    name: str
    half: float
    """Operations a second in products of bfloat16 and float16."""
    single: float
    """The same of float32, where TF32 is allowed."""
    double: float
    bandwidth: float
    """Bytes a second."""

    def seconds(self, operations: Mapping[Operation, int]) -> float:
        """How long the operations take one after another."""
        return sum(count * self._seconds(one) for one, count in operations.items())

    def _seconds(self, one: Operation) -> float:
        peak = {"bfloat16": self.half, "float16": self.half, "float64": self.double}.get(one.type, self.single)
        return max(one.flops / (PRODUCTS * peak), one.bytes / (BANDWIDTH * self.bandwidth), LAUNCH)


DEVICES = {
    "a100": Device("A100", half=312e12, single=156e12, double=19.5e12, bandwidth=2.0e12),  # of 80 GB
    "h200": Device("H200", half=989e12, single=494e12, double=67e12, bandwidth=4.8e12),
}
DEFAULT = "a100"
ASSUMED = (
    f"by a roofline over the traced operations of an update: {PRODUCTS:.0%} of a GPU's peak in products (TF32 for "
    f"fp32), {BANDWIDTH:.0%} of its bandwidth, {1e6 * LAUNCH:g} µs a launch; waiting, exchange between GPUs and the "
    "heads of tasks are not counted"
)


def named(kind: str) -> str:
    """The key of the GPU that `kind` names as Slurm may ("a100", "nvidia_h200_141gb"); of the slowest if none."""
    return next((key for key in DEVICES if key in kind.lower()), DEFAULT)


def told(hours: Mapping[str, float]) -> str:
    """Hours of GPUs by kind, and what they rest on."""
    spent = " or ".join(f"{amount:,.0f} of {DEVICES[key].name}" for key, amount in hours.items())
    return f"training takes about {spent} GPU-hours in all, {ASSUMED}."
