"""Ranks of one run. The shards of an update are spread over ranks; one all-reduce sums gradients after backward.

Everything else that ranks tell each other (metrics, whether to stop) goes through gloo, with a time-out of its own:
while the first rank evaluates or saves, the others wait for it there, as long as that takes.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ablate.store.run import Busy, RunFolder

WAIT = timedelta(days=7)  # for the first rank; one that died is noticed at once, as its connection ends
_words: list[dist.ProcessGroup] = []  # the group of what is told, once ranks have joined


def start() -> None:
    """Join the process group if the launcher set WORLD_SIZE above 1: gradients are summed by gloo on CPU, by nccl on
    CUDA, with torch's own time-outs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(device())
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        _words[:] = [dist.new_group(backend="gloo", timeout=WAIT)]
        atexit.register(_leave)
        print(f"rank {rank()} of {ranks()} on {device()}", flush=True)


def _leave() -> None:
    """End gloo's threads: one that outlives the interpreter aborts the process. NCCL may wait for a rank that died, and
    ends with the process.
    """
    dist.destroy_process_group(_words.pop() if torch.cuda.is_available() else None)
    _words.clear()


def lock(run: RunFolder) -> RunFolder:
    """Lock a stage for all ranks; use as `RunFolder.lock`. Raises Busy on every rank if another process holds the
    lock.
    """
    start()
    refused, token = None, ""
    if rank() == 0:
        try:
            token = run.lock().files.name
        except Busy as busy:
            refused = str(busy)
    refused, token = from_first((refused, token))
    if refused is not None:
        raise Busy(refused)
    return run if rank() == 0 else run.lock(token)


def device() -> torch.device:
    """The device of this rank: its GPU if there is one, else the CPU."""
    return (
        torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def mine(shards: list) -> list[tuple[int, object]]:
    """The (number, shard) pairs that this rank processes; may be empty."""
    return list(enumerate(shards))[rank() :: ranks()]


def sum_(x: Tensor) -> Tensor:
    """Sum `x` over ranks, in place."""
    if dist.is_initialized():
        dist.all_reduce(x)
    return x


Sums = dict[str, list[float]]  # metrics as name -> [sum, count]


def add(sums: Sums, metrics: Mapping[str, Iterable[Any]]) -> None:
    """Add metrics, name -> (sum, count) as numbers or tensors, to `sums`."""
    for name, (total, count) in metrics.items():
        cell = sums.setdefault(name, [0.0, 0.0])
        cell[0], cell[1] = cell[0] + float(total), cell[1] + float(count)


def merged(loss: float, metrics: Sums) -> tuple[float, Sums]:
    """Sum a loss and metrics over ranks; ranks may have different metric names."""
    if not dist.is_initialized():
        return loss, metrics
    everyone = gathered([(loss, metrics)])
    total: Sums = {}
    for _, theirs in everyone:
        add(total, theirs)
    return sum(one for one, _ in everyone), total


def from_first(value: Any) -> Any:
    """The first rank's `value`, on all ranks."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, group=_words[0])
    return box[0]


def any_rank(value: bool) -> bool:
    """Whether `value` is true on any rank."""
    return any(gathered([value]))


def gathered(mine: list) -> list:
    """The lists of all ranks, concatenated."""
    if not dist.is_initialized():
        return mine
    everyone: list = [None] * ranks()
    dist.all_gather_object(everyone, mine, group=_words[0])
    return [item for one in everyone for item in one]
