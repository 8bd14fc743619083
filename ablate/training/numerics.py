"""How this process computes: TF32 on CUDA, and whether bfloat16 is worth its rounding on this CPU."""

from __future__ import annotations

import contextlib
import json
import time

import torch

from ablate.store import files
from ablate.store.machine import label, machine
from encoders.encoder import AbstractEncoder

SIZE = 512  # rows and columns of the product that is timed
SECONDS = 0.005  # how long either precision is timed


def begin() -> None:
    """Allow TF32 in products of float32 on CUDA; called once by whatever trains or evaluates. On a CPU nothing
    changes.
    """
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "tf32"


def warn(encoder: AbstractEncoder, device: torch.device) -> None:
    """Print what to set if an encoder is about to train in bfloat16 on a CPU that is faster in float32."""
    if device.type == "cpu" and encoder.precision == "bf16" and (speed := known_speed()) < 1:
        print(
            f"note: products in bf16 run at {speed:.2g} times the speed of fp32 on this processor; "
            "base.encoder.precision=fp32 trains faster here (it is another row: precision is part of ids).",
            flush=True,
        )


def known_speed() -> float:
    """`speed` of this machine, measured once and kept in the user's cache."""
    path, here = files.cache() / "bf16.json", label(machine())
    known: dict[str, float] = {}
    with contextlib.suppress(OSError, ValueError):  # what is lost is measured again
        known = json.loads(path.read_bytes())
    if here not in known:
        known[here] = round(speed(), 3)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(path, files.encoded(known))
    return known[here]


def speed() -> float:
    """How many times as fast as in float32 a product in bfloat16 is, on this CPU and with this process's threads."""
    single, half = (_seconds(torch.ones(SIZE, SIZE, dtype=dtype)) for dtype in (torch.float32, torch.bfloat16))
    return single / half


@torch.no_grad()
def _seconds(x: torch.Tensor) -> float:
    """Shortest time of a product of `x` with itself."""
    x @ x  # the first one also prepares the kernel
    best, end = float("inf"), time.perf_counter() + SECONDS
    while (began := time.perf_counter()) < end:
        x @ x
        best = min(best, time.perf_counter() - began)
    return best
