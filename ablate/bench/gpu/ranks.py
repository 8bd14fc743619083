"""One rank through the collectives that training uses: NCCL on CUDA, gloo on the CPU and beside NCCL."""

from __future__ import annotations

import torch
import torch.distributed as dist

from ablate.bench.gpu.device import median_seconds
from ablate.bench.gpu.report import Report
from ablate.training import distributed

GRADIENTS = 616_000_000  # of the slam preset


def run(device: torch.device, report: Report) -> None:
    """Start a group of one rank, sum tensors through it, and hand objects around."""
    on = device.type == "cuda"
    backend = "nccl" if on else "gloo"
    if on:
        torch.cuda.set_device(device)
        report.value("NCCL", ".".join(map(str, torch.cuda.nccl.version())))
    store = dist.TCPStore("127.0.0.1", 0, 1, is_master=True)
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    with report.part(f"{backend}: all-reduce"):
        x = torch.arange(1024, dtype=torch.float32, device=device)
        report.equal(
            f"{backend}: a sum over one rank is what it has", torch.equal(distributed.sum_(x.clone()), x), True
        )
    for name, group in {backend: None, "gloo beside it": dist.new_group(backend="gloo")}.items():
        with report.part(f"{name}: objects"):
            objects(name, group, report)
    with report.part(f"{backend}: seconds"):
        gradient = torch.zeros(GRADIENTS if on else 1000, device=device)
        seconds = median_seconds(lambda: distributed.sum_(gradient), device, 5)
        report.value(f"{backend}: a sum of {len(gradient):,} gradients", seconds, "s")
    dist.destroy_process_group()


def objects(name: str, group: dist.ProcessGroup | None, report: Report) -> None:
    """Broadcast and gather an object."""
    said = {"cursors": {"speech": 7}, "why": "a text"}
    box, everyone = [said], [None]
    dist.broadcast_object_list(box, group=group)
    dist.all_gather_object(everyone, said, group=group)
    report.equal(f"{name}: an object of the first rank, and those of all", [box, everyone] == [[said], [said]], True)
