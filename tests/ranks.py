"""Several processes for one stage: started here, or by Slurm for pickled stages (python ranks.py ROOT STAGES)."""

import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

from ablate import drive
from ablate.clusters.registry import CLUSTERS
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import Board

STAGES = """
import os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from ablate.training import loop
from ablate.store.run import Stopped
from ablate.stages.execute import execute
root, stop, *ids = sys.argv[1:]
loop.SAVE_SECONDS = 1e9
update = loop.Loop.one_update
def stopping(self, step):
    if step == int(stop) and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)  # one rank alone is asked to stop
    return update(self, step)
loop.Loop.one_update = stopping
try:
    for id in ids:
        execute(id, root)
        while not list(Path(root).glob(f"*/*/{id}/result.json")):
            time.sleep(0.05)  # the first rank writes it
except Stopped:
    sys.exit(75)
"""


def ranks_of(root, ranks: int, *ids: str, stop: int = -1) -> list[int]:
    """Execute stages with that many ranks; returns their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = dict(
        os.environ,
        OMP_NUM_THREADS="1",
        WORLD_SIZE=str(ranks),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=port,
        PYTHONPATH=os.pathsep.join(sys.path),
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", STAGES, str(root), str(stop), *ids], env=common | {"RANK": str(rank)})
        for rank in range(ranks)
    ]
    return [p.wait(300) for p in processes]


if __name__ == "__main__":
    root, stages = Path(sys.argv[1]), pickle.loads(Path(sys.argv[2]).read_bytes())
    board = Board(stages, root)
    wanted = Resources({"poll_s": 1, "mem_gb": 2, "tasks": 2}, {stage.kind: stage.trains for stage in stages.values()})
    status = drive.drive(CLUSTERS["slurm"](board, "ranks", wanted, drive.PROGRAM, 4))
    sys.exit(status or board.count("done") < len(stages))
