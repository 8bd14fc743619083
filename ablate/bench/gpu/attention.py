"""Every attention backend against attention in double precision: errors forward and backward, and time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from ablate.bench.gpu.device import median_seconds, tf32
from ablate.bench.gpu.report import Report
from encoders.attention import BACKENDS, Case, attention, lacking
from encoders.batch import Layout

Attend = Callable[[Tensor, Tensor, Tensor, Layout], Tensor]

LENGTHS = {
    "speech, 16 x 300": (300,) * 16,
    "text, 64 x 128": (128,) * 64,
    "one of 2,000": (2000,),
    "mixed": (1, 299, 17, 700, 2, 64, 33),
}
SMALL = {"speech, 3 x 37": (37,) * 3, "text, 6 x 12": (12,) * 6, "one of 90": (90,), "mixed": (1, 29, 2, 8)}
HEADS = {128: 8, 16: 4}  # head width -> heads, as in slam and nano
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
# Errors allowed, of the largest number in double precision. CUDA's kernels may multiply fp32 in TF32 whatever is set.
BOUNDS = {("bf16", "cuda"): 0.02, ("bf16", "cpu"): 0.02, ("fp32", "cuda"): 2e-3, ("fp32", "cpu"): 2e-5}


def run(device: torch.device, report: Report) -> None:
    """Measure every backend that can run here, by name and as "auto" chooses."""
    tf32(False)
    backends: dict[str, Attend] = {**BACKENDS, "auto": attention}
    for (name, attend), width, precision in product(backends.items(), HEADS, PRECISIONS):
        what = f"{name}, {precision}, heads of {width}"
        with report.part(what):
            case = Case(device, PRECISIONS[precision], width)
            if name in BACKENDS and (why := lacking(name, case)):
                report.value(what, f"does not run: {why}")
                continue
            for title, lengths in (LENGTHS if device.type == "cuda" else SMALL).items():
                one(f"{what}, {title}", attend, lengths, case, BOUNDS[precision, device.type], report)


def one(name: str, attend: Attend, lengths: tuple[int, ...], case: Case, bound: float, report: Report) -> None:
    """Measure a backend at one set of lengths."""
    layout = Layout(lengths, ("speech",) * len(lengths), 1, case.device)
    generator = torch.Generator(case.device).manual_seed(0)
    shape = (layout.total, HEADS[case.width], case.width)
    q, k, v, weight = (
        torch.randn(shape, device=case.device, generator=generator).to(case.dtype).requires_grad_() for _ in range(4)
    )
    made = gradients(attend, q, k, v, weight, layout)
    exact = gradients(dense, *(x.detach().double().requires_grad_() for x in (q, k, v, weight)), layout)
    errors = [error(*both) for both in zip(made, exact, strict=True)]
    report.value(f"{name}: forward", errors[0], "of the largest", at_most=bound)
    report.value(f"{name}: backward", max(errors[1:]), "of the largest", at_most=bound)
    repeats = 20 if case.device.type == "cuda" else 2
    seconds = median_seconds(lambda: gradients(attend, q, k, v, weight, layout), case.device, repeats)
    report.value(f"{name}: forward and backward", 1e3 * seconds, "ms")


def gradients(attend: Attend, q: Tensor, k: Tensor, v: Tensor, weight: Tensor, layout: Layout) -> tuple[Tensor, ...]:
    """The result, and the gradients of q, k and v of its product with `weight`."""
    x_NHE = attend(q, k, v, layout)
    return x_NHE.detach(), *torch.autograd.grad(x_NHE, (q, k, v), weight.detach())


def dense(q_NHE: Tensor, k_NHE: Tensor, v_NHE: Tensor, layout: Layout) -> Tensor:
    """Attention by its definition, sequence by sequence."""
    attended = []
    for q, k, v in zip(*(x.transpose(0, 1).split(layout.sequence_lengths, dim=1) for x in (q_NHE, k_NHE, v_NHE))):
        attended.append((q @ k.transpose(1, 2) * q.shape[2] ** -0.5).softmax(2) @ v)
    return torch.cat(attended, dim=1).transpose(0, 1)


def error(made: Tensor, exact: Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    return float((made.double() - exact).abs().max() / exact.abs().max())
