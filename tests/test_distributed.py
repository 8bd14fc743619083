"""Two gloo ranks share an update's shards and end where one process ends."""

import os
import socket
import subprocess
import sys

import torch

WORKER = """
import os, sys, torch
from ablate import distributed
from ablate.optim import FlatAdamW, OptimizerConfig
torch.set_num_threads(1)
torch.manual_seed(0)
net = torch.nn.Linear(4, 3)
flat = FlatAdamW({"all": (net.named_parameters(), 1e-2)}, OptimizerConfig())
distributed.start()
shards = [torch.full((2, 4), float(i + 1)) for i in range(3)]
for _ in range(3):
    flat.zero()
    loss, metrics = 0.0, {}
    for number, x in distributed.mine(shards):
        part = net(x).pow(2).sum() / 6
        part.backward()
        loss += float(part.detach())
        metrics[f"shard{number}"] = [float(number), 1.0]
    distributed.sum_(flat.gradient)
    loss, metrics = distributed.merged(loss, metrics)
    flat.step(1.0)
assert sorted(metrics) == ["shard0", "shard1", "shard2"], metrics
assert distributed.gathered([distributed.rank()]) == list(range(distributed.ranks()))
if distributed.rank() == 0:
    torch.save({"weights": flat.flat, "loss": loss}, sys.argv[1])
"""


def launch(tmp_path, ranks: int, name: str) -> dict:
    out = tmp_path / name
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = dict(os.environ, OMP_NUM_THREADS="1", WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(out)], env=common | {"RANK": str(r)}) for r in range(ranks)
    ]
    assert [p.wait(120) for p in processes] == [0] * ranks
    return torch.load(out)


def test_ranks_change_nothing_up_to_summation_order(tmp_path):
    one, two = launch(tmp_path, 1, "one"), launch(tmp_path, 2, "two")
    torch.testing.assert_close(one["weights"], two["weights"])
    assert abs(one["loss"] - two["loss"]) < 1e-5
