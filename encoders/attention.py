"""Self-attention within the sequences of a packed batch: one function, and the backends behind it.

The environment variable ABLATE_ATTENTION names a backend, or is "auto", the default: the first of `BACKENDS` that can
run. On a CPU that is `sdpa`. Whether a backend of CUDA can run is tried once in a process, for a device, a type of
numbers and a head width.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from encoders import kernels
from encoders.batch import Layout
from encoders.choices import check_known

SETTING = "ABLATE_ATTENTION"


class Unavailable(ValueError):
    """The backend that was asked for by name cannot run; the message says why, and which can."""


@dataclass(frozen=True)
class Case:
    """What a backend is to attend to."""

    device: torch.device
    dtype: torch.dtype
    width: int
    """Of a head."""
    bias: bool = False
    fake: bool = False
    """Whether there are no values: then nothing can be tried."""

    @staticmethod
    def of(q_NHE: Tensor, bias: bool) -> Case:
        device = q_NHE.device
        if q_NHE.is_cuda and device.type == "cpu":  # a trace of what CUDA would run, on fake tensors that claim it
            device = torch.device("cuda")
        return Case(device, q_NHE.dtype, q_NHE.shape[2], bias, isinstance(q_NHE, FakeTensor))

    def __str__(self) -> str:
        number = str(self.dtype).removeprefix("torch.")
        return f"{number} on {self.device}, heads of {self.width}{', with a bias' * self.bias}"


Run = Callable[[Tensor, Tensor, Tensor, Layout], Tensor]


def attention(
    q_NHE: Tensor, k_NHE: Tensor, v_NHE: Tensor, layout: Layout, bias_HLL: Sequence[Tensor] | None = None
) -> Tensor:
    """Attend within each sequence of `layout`; returns x_NHE.

    `bias_HLL` holds one [H, L, L] per sequence, added to the scaled scores; only `sdpa` takes it. Raises Unavailable if
    the backend that was asked for by name cannot run.
    """
    case = Case.of(q_NHE, bias_HLL is not None)
    backend = chosen(case, os.environ.get(SETTING, "auto"))
    if backend != "sdpa":
        return BACKENDS[backend](q_NHE, k_NHE, v_NHE, layout)
    if case.bias or case.device.type == "cpu":
        return kernels.one_by_one(q_NHE, k_NHE, v_NHE, layout, bias_HLL)
    return kernels.padded(q_NHE, k_NHE, v_NHE, layout)


BACKENDS: dict[str, Run] = {  # the fastest first
    "varlen": kernels.varlen,
    "xformers": kernels.xformers,
    "sdpa": kernels.padded,
}
CHOICES = ("auto", *BACKENDS)


@cache
def chosen(case: Case, asked: str) -> str:
    """The backend for a case, if `asked` for one by name or for "auto". Raises Unavailable, and ValueError for another
    name.
    """
    check_known("attention", [asked], CHOICES)
    lacks: dict[str, str] = {}
    for name in BACKENDS if asked == "auto" else (asked,):
        if not (why := lacking(name, case)):
            if case.device.type == "cuda" and not case.fake:
                others = "".join(f"; not {other}: {why}" for other, why in lacks.items())
                print(f"attention: {name} for {case}{others}", file=sys.stderr, flush=True)
            return name
        lacks[name] = why
    able = " or ".join(name for name in BACKENDS if not lacking(name, case))
    raise Unavailable(f"attention: {asked} cannot run for {case}: {lacks[asked]}; choose {able}, or auto.")


def lacking(name: str, case: Case) -> str:
    """Why a backend cannot run for a case; "" if it can."""
    if name == "sdpa":
        return ""
    if case.bias:
        return "it takes no bias, which relative positions need"
    if case.device.type != "cuda":  # before xformers is imported, which takes seconds
        return "it needs CUDA"
    if name == "xformers" and (fault := kernels.xformers_fault()):
        return fault
    if name == "varlen" and case.dtype not in (torch.bfloat16, torch.float16):
        return "it takes bfloat16 and float16 only"
    if name == "varlen" and (case.width % 8 or case.width > 256):
        return "it takes heads whose width is a multiple of 8 and at most 256"
    if case.fake:
        return "it has no fake kernels" if name == "xformers" else ""
    return tried(BACKENDS[name], case)


def tried(run: Run, case: Case) -> str:
    """Run a backend forward and backward on two short sequences. Returns what goes wrong; "" if all is right."""
    layout = Layout((3, 2), ("text", "text"), 1, case.device)
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(case.device.type, enabled=False):
            zeros = torch.zeros(5, 1, case.width, device=case.device, dtype=case.dtype)
            rising = torch.arange(5, device=case.device).to(case.dtype)[:, None, None].expand_as(zeros)
            q, k, v = (x.contiguous().requires_grad_() for x in (zeros, zeros, rising))
            x_NHE = run(q, k, v, layout)  # of equal keys the mean of the values
            x_NHE.sum().backward()
        made = [x_NHE[:, 0, 0].tolist(), v.grad[:, 0, 0].tolist()]
    except Exception as error:  # of any kind, out of libraries that may not fit this machine
        return f"it raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    right = [[1.0, 1.0, 1.0, 3.5, 3.5], [1.0] * 5]
    near = all(abs(a - b) < 0.05 for one, other in zip(made, right) for a, b in zip(one, other))
    return "" if near else f"it computes {made[0]} where {right[0]} is right"


def table(device: torch.device, width: int = 64) -> list[tuple[str, str, str]]:
    """Of each backend its name, and whether it can run in fp32 and in bf16 on a device: "yes", or why not; last what
    "auto" chooses.
    """
    cases = [Case(device, dtype, width) for dtype in (torch.float32, torch.bfloat16)]
    rows = [(name, *(lacking(name, case) or "yes" for case in cases)) for name in BACKENDS]
    return [*rows, ("auto", *(next(name for name in BACKENDS if not lacking(name, case)) for case in cases))]
