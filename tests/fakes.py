"""Stages that sleep, fail or die instead of training, and a driver for them: python fakes.py ROOT CLUSTER WORKERS."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from ablate import pool, sweep
from ablate.record import run_path
from ablate.run import RunFolder
from ablate.schedule import Board
from ablate.stage import Stage

EXECUTE = "fakes:execute"


def stage(id: str, *parents: str, do: str = "sleep", steps: int = 2, cost: float = 1.0, kind: str = "score") -> Stage:
    """Make a fake stage that takes `steps` steps of 20 ms."""
    return Stage(kind, {"do": do, "steps": steps}, tuple((f"p{i}", p) for i, p in enumerate(parents)), id,
                 title=f"stage {id}", steps=steps, cost=cost)  # fmt: skip


def write(root: Path, *stages: Stage) -> dict[str, Stage]:
    """Write what the stages are under `root`; return them by id."""
    for one in stages:
        folder = run_path(root, one.kind, one.id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "identity.json").write_text(
            json.dumps({"kind": one.kind, "config": one.config, "parents": one.parents, "title": one.title,
                        "cost": one.cost, "id": one.id})
        )  # fmt: skip
    return {one.id: one for one in stages}


def read(root: Path) -> dict[str, Stage]:
    """Read back what `write` wrote."""
    stages = {}
    for path in sorted(root.glob("*/*/*/identity.json")):
        what = json.loads(path.read_text())
        stages[what["id"]] = Stage(what["kind"], what["config"], tuple(map(tuple, what["parents"])), what["id"],
                                   title=what["title"], cost=what["cost"])  # fmt: skip
    return stages


def execute(id: str, root: Path) -> None:
    """Run a fake stage: it counts to `steps`, checkpoints every step, and goes on from its checkpoint."""
    kind = next(path.parents[1].parent.name for path in Path(root).glob(f"*/*/{id}/identity.json"))
    run = RunFolder(root, kind, id)
    if run.done:
        return
    with run.claim():
        config = run.identity()["config"]
        print(f"{config['do']} in process {os.getpid()}")
        if config["do"] == "fail":
            raise RuntimeError("a deliberate failure")
        if config["do"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if config["do"] == "fill":
            run.write_bytes("large", bytes(3_000_000))
        checkpoint = run.path / "checkpoint.json"
        step = json.loads(checkpoint.read_text())["step"] if checkpoint.exists() else 0
        run.truncate(step)
        while step < config["steps"]:
            time.sleep(0.02)
            step += 1
            run.log(step, {"loss": 1.0 / step})
            run.write_json("checkpoint.json", {"step": step})
            run.progress(step, config["steps"], loss=1.0 / step, rate=50.0)
            if config["do"] != "deaf":
                run.check()
        run.finish({"final": {"loss": 1.0 / max(1, step)}, "busy_seconds": 0.02 * step})


if __name__ == "__main__":
    where, cluster, workers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    pool.PRELOAD = ["ablate.run"]  # fake stages need no torch
    board = Board(read(where), where)
    interrupted = sweep.drive(board, "fakes", cluster, workers, {"poll_s": 1, "mem_gb": 1}, execute=EXECUTE)
    assert cluster == "debug" or "torch" not in sys.modules, "the driver must not import torch"
    sys.exit(130 if interrupted else 0 if board.count("done") == len(board.stages) else 1)
