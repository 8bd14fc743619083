"""Ranks of one run. Shards of an update are spread over ranks; one all-reduce of our own sums gradients after backward."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor


def start() -> None:
    """Join the process group when the launcher set WORLD_SIZE above 1 (gloo on CPU, nccl on CUDA)."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def device() -> torch.device:
    """Where this rank computes: its GPU if there is one, else the CPU."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else torch.device("cpu")


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def mine(shards: list) -> list[tuple[int, object]]:
    """The (number, shard) pairs this rank works on; may be empty."""
    return list(enumerate(shards))[rank() :: ranks()]


def sum_(x: Tensor) -> Tensor:
    """Sum `x` over ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(x)
    return x


def merged(loss: float, metrics: dict[str, list[float]]) -> tuple[float, dict[str, list[float]]]:
    """Sum a loss and (sum, count) metrics over ranks; a rank may lack names that another has."""
    if not dist.is_initialized():
        return loss, metrics
    everyone: list = [None] * ranks()
    dist.all_gather_object(everyone, (loss, metrics))
    total: dict[str, list[float]] = {}
    for _, found in everyone:
        for name, (value, count) in found.items():
            cell = total.setdefault(name, [0.0, 0.0])
            cell[0], cell[1] = cell[0] + value, cell[1] + count
    return sum(one for one, _ in everyone), total
