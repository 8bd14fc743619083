"""Seconds of calls on a device, and how it multiplies fp32."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def synchronize(device: torch.device) -> None:
    """Wait until all that was launched on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(call: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds of a call on the device, over `repeats` after one that warms up.

    On CUDA by events in its stream, so that what the CPU does meanwhile is not counted.
    """
    call()
    synchronize(device)
    if device.type != "cuda":
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            call()
            times.append(time.perf_counter() - began)
        return statistics.median(times)
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for begin, end in events:
        begin.record()
        call()
        end.record()
    torch.cuda.synchronize(device)
    return statistics.median(begin.elapsed_time(end) / 1e3 for begin, end in events)


def tf32(allowed: bool) -> None:
    """Let products, convolutions and recurrent layers of fp32 be made in TF32 on CUDA, or not."""
    word = "tf32" if allowed else "ieee"
    cudnn = torch.backends.cudnn
    torch.backends.cuda.matmul.fp32_precision = cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = word
