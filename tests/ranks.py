"""Run pickled stages, with two processes for those that train, on Slurm: python ranks.py ROOT STAGES."""

import pickle
import sys
from pathlib import Path

from ablate import sweep
from ablate.schedule import Board

if __name__ == "__main__":
    root, stages = Path(sys.argv[1]), pickle.loads(Path(sys.argv[2]).read_bytes())
    board = Board(stages, root)
    sys.exit(sweep.drive(board, "ranks", "slurm", 4, {"poll_s": 1, "mem_gb": 2, "tasks": 2}) or board.count("done") < len(stages))
