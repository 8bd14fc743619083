"""Two gloo ranks share an update's shards and end where one process ends."""

import os
import socket
import subprocess
import sys

import torch
from tiny import World

from ablate import checkpoint
from ablate.pretrain import Update
from ablate.record import read_jsonl
from ablate.run import RunFolder

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


STAGES = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from ablate import train
from ablate.run import Stopped
from ablate.stage import execute
root, stop, *ids = sys.argv[1:]
train.SAVE_SECONDS = 1e9
update = train.Loop.one_update
def stopping(self, step):
    if step == int(stop) and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)  # one rank alone is asked to stop
    return update(self, step)
train.Loop.one_update = stopping
try:
    for id in ids:
        execute(id, root)
except Stopped:
    sys.exit(75)
"""


def ranks_of(root, ranks: int, *ids: str, stop: int = -1) -> list[int]:
    """Execute stages with that many ranks; returns their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = dict(os.environ, OMP_NUM_THREADS="1", WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=port,
                  PYTHONPATH=os.pathsep.join(sys.path))  # fmt: skip
    processes = [
        subprocess.Popen([sys.executable, "-c", STAGES, str(root), str(stop), *ids], env=common | {"RANK": str(rank)})
        for rank in range(ranks)
    ]
    return [p.wait(300) for p in processes]


def test_a_stage_resumed_on_other_ranks_ends_the_same(tmp_path):
    """Shards are fixed by (seed, step): one rank, two, and two after one of them was told to stop, make one model."""
    ended = []
    for name, first, then, stop in (("one", 1, 1, -1), ("two", 2, 2, -1), ("moved", 2, 1, 7)):
        world = World(tmp_path / name)
        fields = {"update": Update(speech=4.0, text=80, pairs=3, shards=3), "steps": 20}
        trunk = world.pretrain("contrastive", "masked_speech", "masked_text", **fields)
        leaf = world.pretrain("contrastive", "masked_speech", "masked_text", parent=trunk, phase="decay", start=20,
                              **{**fields, "steps": 5})  # fmt: skip
        world.run(world.corpus), world.run(world.tokenizer)
        ids = [trunk, leaf, *world.finetune("sentiment", leaf, steps=10)]
        statuses = ranks_of(world.root, first, *ids, stop=stop)
        assert statuses == [75 if stop > 0 else 0] * first
        if stop > 0:
            folder = RunFolder(world.root, "pretrain", trunk)
            assert not folder.done and checkpoint.load(folder.path / checkpoint.NAME)[1]["step"] == 10
            assert ranks_of(world.root, then, *ids) == [0] * then
        ended.append([RunFolder(world.root, world.stages[id].kind, id) for id in ids])
    for runs in zip(*ended):
        tensors = [checkpoint.load(run.path / checkpoint.NAME)[0] for run in runs if run.kind != "score"]
        for other in tensors[1:]:
            torch.testing.assert_close(other, tensors[0], rtol=1e-3, atol=1e-4)
        logged = [[(line["step"], line.get("loss")) for line in read_jsonl(run.path / "metrics.jsonl")] for run in runs]
        assert all([step for step, _ in log] == [step for step, _ in logged[0]] for log in logged)
        assert [run.result()["attempts"] for run in runs] == [1, 1, 2 if runs[2] is ended[2][0] else 1]
