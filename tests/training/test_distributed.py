"""Two gloo ranks share an update's shards and end where one process ends."""

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from ranks import ranks_of
from tiny import World

from ablate.store.record import read_jsonl
from ablate.store.run import RunFolder
from ablate.training import checkpoint
from ablate.training.update import Update
from objectives import OBJECTIVES

WORKER = """
import os, sys, torch
from ablate.training import distributed
from ablate.training.optim import FlatAdamW, OptimizerConfig
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


WAITING = """
import time, torch.distributed as dist
from datetime import timedelta
from ablate.training import distributed
distributed.start()
leads = distributed.rank() == 0
distributed.from_first(None)
dist.distributed_c10d._set_pg_timeout(timedelta(seconds=1), dist.group.WORLD)  # NCCL's is ten minutes
if leads:
    time.sleep(3)  # evaluates, alone
assert distributed.from_first("done" if leads else None) == "done"
if leads:
    time.sleep(3)
assert distributed.gathered([distributed.rank()]) == [0, 1]
distributed.from_first(None)
"""


def launch(tmp_path, ranks: int, name: str) -> dict:
    out = tmp_path / name
    started(WORKER, ranks, str(out))
    return torch.load(out)


def started(code: str, ranks: int, *arguments: str) -> None:
    """Run code in so many ranks, all of which must end well."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = dict(os.environ, OMP_NUM_THREADS="1", WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    processes = [
        subprocess.Popen([sys.executable, "-c", code, *arguments], env=common | {"RANK": str(r)}) for r in range(ranks)
    ]
    assert [p.wait(120) for p in processes] == [0] * ranks


def test_ranks_wait_for_the_first_longer_than_sums_may_take():
    started(WAITING, 2)


def test_ranks_change_nothing_up_to_summation_order(tmp_path):
    one, two = launch(tmp_path, 1, "one"), launch(tmp_path, 2, "two")
    torch.testing.assert_close(one["weights"], two["weights"])
    assert abs(one["loss"] - two["loss"]) < 1e-5


@pytest.mark.slow
def test_a_stage_resumed_on_other_ranks_ends_the_same(tmp_path):
    """Shards are fixed by (seed, step): one process, two ranks, and two of which one is told to stop, then
    one, agree.
    """
    ended = []
    for name, ranks, stop in (("one", 1, -1), ("two", 2, -1), ("moved", 2, 7)):
        world = World(tmp_path / name)
        names = ("contrastive", "masked_speech", "masked_text")
        objectives = {name: OBJECTIVES[name] for name in names}
        objectives["contrastive"] = replace(OBJECTIVES["contrastive"], diversity_over="average")  # summed over ranks
        fields = {"update": Update(speech=4.0, text=80, pairs=3, shards=3)}
        trunk = world.pretrain(*names, objectives=dict(objectives), steps=20, **fields)
        leaf = world.pretrain(
            *names, objectives=dict(objectives), parent=trunk, phase="decay", start=20, steps=5, **fields
        )
        ids = [trunk, leaf, world.finetune("sentiment", leaf, steps=10)[0]]
        world.lay(*ids)
        runs = [RunFolder(world.root, world.stages[id].kind, id) for id in ids]
        if ranks == 2:
            assert ranks_of(world.root, 2, *ids, stop=stop) == [75 if stop > 0 else 0] * 2
        if stop > 0:
            assert not runs[0].done and checkpoint.load(runs[0].files).step == 10
        ended.append([world.run(id) for id in ids])
    for one, *others in zip(*ended):
        tensors, log = checkpoint.of(one).weights, list(read_jsonl(one.files / "metrics.jsonl"))
        for other in others:
            # loose, as Adam makes steps of rounding where a gradient is zero in exact numbers (the keys' biases)
            torch.testing.assert_close(checkpoint.of(other).weights, tensors, rtol=0.0, atol=5e-3)
            theirs = list(read_jsonl(other.files / "metrics.jsonl"))
            assert [line["step"] for line in theirs] == [line["step"] for line in log]
            for a, b in zip(theirs, log):
                assert a.get("loss", 0.0) == pytest.approx(b.get("loss", 0.0), rel=1e-3), (one.kind, a["step"])
    assert [run.result()["attempts"] for run in (ended[1][0], ended[2][0], ended[2][1])] == [1, 2, 1]
