"""Stages that sleep, fail or die instead of training, and a driver for them: python fakes.py ROOT CLUSTER WORKERS ...

Further arguments: resources as JSON, and one of detach, retry, status, cancel.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from ablate import drive
from ablate.clusters.cluster import Program
from ablate.clusters.display import failures_text, status_text
from ablate.clusters.registry import CLUSTERS
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import Board
from ablate.clusters.slurm import sbatch
from ablate.store.pruned import Pruned
from ablate.store.record import run_path
from ablate.store.run import RunFolder
from ablate.store.stage import Stage

SWEEP = """\
data: {preset: builtin, speech: 30, text: 60, pairs: 20, dev: 10, test: 10, retrieval: 10}
base:
  encoder: {width: 32, heads: 2, ffn: 64, groups: 4}
  tokenizer: {size: 100}
  pretrain: {objectives: {masked_text: 1.0}, steps: 2, decay: 1, update: {text: 60 tokens}}
  tasks: {retrieval: {}}
rows:
  one: {}
"""  # a sweep file with real stages, of seconds in all
PROGRAM = Program("fakes:execute", preload="ablate.store.run", main="fakes:main")  # fake stages need no torch
TRAINING = ("pretrain", "finetune")
KINDS = {  # and whether they train
    kind: kind in TRAINING
    for kind in ("recordings", "table", "tokenizer", "tokens", "kmeans", *TRAINING, "heldout", "tune", "score")
}


def stage(id: str, *parents: str, do: str = "sleep", steps: int = 2, cost: float = 1.0, kind: str = "score") -> Stage:
    """Make a fake stage that takes `steps` steps of 20 ms."""
    return Stage(
        kind,
        {"do": do, "steps": steps},
        tuple((f"p{i}", p) for i, p in enumerate(parents)),
        id,
        title=f"stage {id}",
        steps=steps,
        cost=cost,
        trains=KINDS[kind],
        recomputes=KINDS[kind],
    )


def write(root: Path, *stages: Stage) -> dict[str, Stage]:
    """Write what the stages are under `root`; return them by id."""
    for one in stages:
        folder = run_path(root, one.kind, one.id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "identity.json").write_text(
            json.dumps(
                {
                    "kind": one.kind,
                    "config": one.config,
                    "parents": one.parents,
                    "title": one.title,
                    "cost": one.cost,
                    "id": one.id,
                }
            )
        )
    return {one.id: one for one in stages}


def read(root: Path) -> dict[str, Stage]:
    """Read back what `write` wrote."""
    stages = {}
    for path in sorted(root.glob("*/*/*/identity.json")):
        what = json.loads(path.read_text())
        stages[what["id"]] = Stage(
            what["kind"],
            what["config"],
            tuple(map(tuple, what["parents"])),
            what["id"],
            title=what["title"],
            cost=what.get("cost", 1.0),
            trains=KINDS[what["kind"]],
            recomputes=KINDS[what["kind"]],
        )
    return stages


def execute(id: str, root: Path) -> None:
    """Run a fake stage: it counts to `steps`, checkpoints every step, and goes on from its checkpoint."""
    kind = next(path.parents[1].parent.name for path in Path(root).glob(f"*/*/{id}/identity.json"))
    run = RunFolder(root, kind, id)
    if run.done:
        return
    with run.lock():
        config = run.identity()["config"]
        print(f"{config['do']} in process {os.getpid()}")
        if config["do"] == "fail":
            raise RuntimeError("a deliberate failure")
        if config["do"] == "pruned":
            raise Pruned("reads what was pruned")
        if config["do"] == "exit":
            sys.exit(3)
        if config["do"] == "memory" and not run.spares_memory:
            raise MemoryError("a deliberate lack of memory")
        if config["do"] == "more memory":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        if config["do"] == "gluttony":
            hoard = b"x" * (1 << 30)
            time.sleep(60 + len(hoard) % 2)
        if config["do"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if config["do"] == "fill":
            run.write_bytes("large", bytes(3_000_000))
        checkpoint = run.files / "checkpoint.json"
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
    _afterwards(run, config["do"])


def _afterwards(run: RunFolder, do: str) -> None:
    if do == "late":  # a test brings it back
        os.rename(run.path / "result.json", run.path / "result.late")
    if do == "last":  # the job dies in its last second
        os.kill(os.getppid(), signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Drive the stages under a root as the command does; its exit status."""
    where, cluster, workers = Path(arguments[0]), arguments[1], int(arguments[2])
    sbatch.PATIENCE = float(os.environ.get("FAKES_SBATCH", sbatch.PATIENCE))
    only, name = os.environ.get("FAKES_ONLY", ""), os.environ.get("FAKES_NAME", "fakes")
    wanted = {"poll_s": 1, "mem_gb": 1, "pack_min": 0, **json.loads(arguments[3] if len(arguments) > 3 else "{}")}
    stages = read(where)
    board = Board({id: stages[id] for id in only.split(",")} if only else stages, where)
    of = CLUSTERS[cluster](board, name, Resources(wanted, KINDS), PROGRAM, workers)
    if "cancel" in arguments:
        return 0 * of.cancel(whole=True)
    if "status" in arguments:
        of.look()
        print(status_text(board, of.remaining.estimate()))
        return 0
    if "retry" in arguments:
        of.retry()
    collect = [one for one in arguments if one != "retry"] if "detach" in arguments else None
    left = drive.drive(of, collect)
    assert cluster == "debug" or "torch" not in sys.modules, "the driver must not import torch"
    if collect is not None and board.ended:
        if (where / "break_collector").exists():
            raise RuntimeError("a broken report")
        (where / "collected").write_text(f"{board.count('done')} done\n{failures_text(board, of.advice)}")
    if left:
        return 0 if collect is not None and board.count("queued", "running") else left
    return 0 if board.count("done") == len(board.stages) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
