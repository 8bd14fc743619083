"""One rank through the collectives that training uses: NCCL on CUDA, gloo on the CPU."""

from __future__ import annotations

import torch
import torch.distributed as dist

from ablate.bench.gpu.device import median_seconds
from ablate.bench.gpu.report import Report
from ablate.training import distributed


def run(device: torch.device, report: Report) -> None:
    """Start a group of one rank, and call `ablate.training.distributed`."""
    on = device.type == "cuda"
    backend = "nccl" if on else "gloo"
    if on:
        torch.cuda.set_device(distributed.device())
        report.value("NCCL", ".".join(map(str, torch.cuda.nccl.version())))
    store = dist.TCPStore("127.0.0.1", 0, 1, is_master=True)
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    x = torch.arange(1024, dtype=torch.float32, device=device)
    with report.part("all-reduce"):
        report.equal(
            f"{backend}: all-reduce leaves a tensor as it is", bool(distributed.sum_(x.clone()).equal(x)), True
        )
    said = {"cursors": {"speech": 7}, "why": "a text"}
    with report.part("objects"):
        report.equal(f"{backend}: an object of the first rank", distributed.from_first(said) == said, True)
        report.equal(f"{backend}: objects of all ranks", distributed.gathered([said]) == [said], True)
        merged = distributed.merged(1.5, {"loss": [3.0, 2.0]})
        report.equal(f"{backend}: loss and metrics of all ranks", merged == (1.5, {"loss": [3.0, 2.0]}), True)
    with report.part("seconds"):
        gradient = torch.zeros(616_000_000 if on else 1000, device=device)
        report.value(
            f"{backend}: all-reduce of 616 M gradients",
            median_seconds(lambda: dist.all_reduce(gradient), device, 5),
            "s",
        )
    dist.destroy_process_group()
