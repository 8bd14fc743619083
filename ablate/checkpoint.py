"""Checkpoints: one safetensors file of weights, optimizer moments and a few integers, written beside and renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ablate import distributed

NAME = "checkpoint.safetensors"


def save(path: Path, tensors: Mapping[str, Tensor], state: Mapping) -> None:
    """Write `tensors` and the JSON-able `state` to `path`, so that a reader sees the old file or the new one.

    Of several ranks the first does so.
    """
    if distributed.rank() != 0:
        return
    beside = path.with_suffix(".writing")
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, beside, metadata={"state": json.dumps(state)})
    with open(beside, "rb") as handle:
        os.fsync(handle.fileno())
    os.replace(beside, path)


def load(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Read what `save` wrote; raises FileNotFoundError."""
    with safe_open(path, framework="pt") as handle:
        tensors = {k: handle.get_tensor(k) for k in handle.keys()}
        return tensors, json.loads(handle.metadata()["state"])


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix`, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
