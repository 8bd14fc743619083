"""The device, the versions of what computes there, and which attention backends can run."""

from __future__ import annotations

import importlib
import os
import platform

import torch

from ablate.bench.gpu.attention import HEADS
from ablate.bench.gpu.report import Report
from encoders.attention import table

LIBRARIES = ("numpy", "scipy", "einops", "xformers", "triton", "safetensors")


def run(device: torch.device, report: Report) -> None:
    """Tell what is here, and multiply two matrices: a device that cannot fails this step."""
    report.value("torch", torch.__version__)
    report.value("python", platform.python_version())
    for name in LIBRARIES:
        report.value(name, version(name))
    report.value("CPU cores", os.cpu_count())
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        report.value("device", properties.name)
        report.value("memory", properties.total_memory / 1e9, "GB")
        report.value("free memory", torch.cuda.mem_get_info(device)[0] / 1e9, "GB")
        report.value("compute capability", f"{properties.major}.{properties.minor}")
        report.value("multiprocessors", properties.multi_processor_count)
        report.value("CUDA of torch", str(torch.version.cuda))
        report.value("cuDNN", str(torch.backends.cudnn.version()))
        report.equal("bf16 is supported", torch.cuda.is_bf16_supported(including_emulation=False), True)
    for width in HEADS:
        for name, fp32, bf16 in table(device, width):
            report.value(f"attention, heads of {width}, {name}", f"fp32: {fp32}; bf16: {bf16}")
    x = torch.arange(4.0, device=device).view(2, 2)
    report.equal("a product of two matrices", (x @ x).tolist(), [[2.0, 3.0], [6.0, 11.0]])


def version(name: str) -> str:
    """The version of a library, or why it does not load."""
    try:
        return str(importlib.import_module(name).__version__)
    except Exception as error:  # a wheel for another CUDA raises many things
        return f"does not load: {type(error).__name__}: {error}"
