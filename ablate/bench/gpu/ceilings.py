"""What the device can do at best: matrix products of the slam preset's shapes, a copy, a launch."""

from __future__ import annotations

import time

import torch

from ablate.bench.gpu.device import median_seconds, synchronize, tf32
from ablate.bench.gpu.report import Report

# Rows, depth and columns of x_ND @ W: 19,200 positions are 768 s of speech.
SHAPES = ((19200, 1024, 4096), (19200, 4096, 1024), (19200, 1024, 1024), (4800, 1024, 4096), (8192, 8192, 8192))
SMALL = ((96, 32, 64),)
KINDS = {"bf16": (torch.bfloat16, False), "TF32": (torch.float32, True), "fp32": (torch.float32, False)}
LAUNCHES = 2000


def run(device: torch.device, report: Report) -> None:
    """Measure. Nothing has a bound: what is wanted depends on the device."""
    on = device.type == "cuda"
    for kind, (dtype, fast) in KINDS.items():
        tf32(fast)
        for rows, depth, columns in SHAPES if on else SMALL:
            with report.part(f"{kind}, {rows} x {depth} x {columns}"):
                x_ND, w_DE = (
                    torch.randn(size, device=device, dtype=dtype) for size in ((rows, depth), (depth, columns))
                )
                seconds = median_seconds(lambda x=x_ND, w=w_DE: x @ w, device, 20 if on else 3)
                report.value(
                    f"{kind}, {rows} x {depth} x {columns}", 2e-12 * rows * depth * columns / seconds, "TFLOP/s"
                )
    with report.part("copy"):
        source = torch.ones(2**29 if on else 2**16, device=device)
        target = torch.empty_like(source)
        seconds = median_seconds(lambda: target.copy_(source), device, 20 if on else 3)
        report.value("copy, read and written", 2e-9 * source.nbytes / seconds, "GB/s")
    with report.part("launch"):
        one = torch.zeros(1, device=device)
        launches = LAUNCHES if on else 50
        for name, waits in (("launch", False), ("launch and wait", True)):
            synchronize(device)
            began = time.perf_counter()
            for _ in range(launches):
                one.add_(1)
                if waits:
                    synchronize(device)
            seconds = time.perf_counter() - began  # without the wait: until all are queued
            synchronize(device)
            report.value(name, 1e6 * seconds / launches, "µs")
