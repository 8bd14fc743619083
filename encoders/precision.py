"""In which precision matrix products are made: of the encoder and of the heads on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PRECISIONS = ("fp32", "bf16")


def products(precision: str, device: torch.device) -> torch.autocast:
    """Within this block matrix products and attention are made in `precision`; weights and gradients stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Within this block products of float32 are made in float32, also under autocast and where TF32 is allowed: for
    what a number is chosen by, and for what a softmax is over.
    """
    settings = torch.backends.cuda.matmul
    before = settings.fp32_precision
    if device.type == "cuda":
        settings.fp32_precision = "ieee"
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        settings.fp32_precision = before
