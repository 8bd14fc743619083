"""Time a sweep of ten thousand runs: planned, submitted to a queue that holds them, and planned again when all are
done.

    python -m ablate.bench.plan [--runs N] [--folder DIR] [--apart]
    python -m ablate.bench.plan --against COMMIT [--runs N] [--rounds N]     beside an earlier commit, in turns

A run is a stage, with a folder and a job-array task of its own. Submitting is measured if `sbatch` is installed
(SLURM_CONF may name a private cluster); the jobs are submitted held, and cancelled afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ablate.bench import against
from ablate.store.child import unbroken
from ablate.store.record import FORMAT, run_path

SWEEP = Path(__file__).resolve().parents[2] / "sweeps" / "objectives.yaml"
LIMITS = {"planned": 15.0, "submitted": 30.0, "planned again, all done": 15.0}  # seconds
MEMORY = 1e9  # bytes


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit status is 1 when a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m ablate.bench.plan", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10_000, help="stages of the sweep, at least (default: 10000)")
    parser.add_argument("--folder", type=Path, help="where runs go (default: a temporary folder)")
    parser.add_argument(
        "--apart", action="store_true", help="submit a task for each run, instead of several short runs in one"
    )
    parser.add_argument(
        "--against",
        metavar="COMMIT",
        help="plan beside an earlier commit: a second checkout, in turns; nothing is submitted, no limit holds",
    )
    parser.add_argument("--rounds", type=int, default=against.ROUNDS, help=f"of --against (default: {against.ROUNDS})")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or options.runs < 1:
        parser.error("--rounds and --runs: expected 1 or more")
    if options.against is not None:
        return against.told(against.plans(options.against, options.runs, options.rounds))
    with tempfile.TemporaryDirectory() as temporary:
        return measure(
            options.runs, options.folder or Path(temporary) / "runs", {"pack_min": 0} if options.apart else {}
        )


def measure(runs: int, root: Path, resources: dict[str, int]) -> int:
    """Time the three steps, as the commands that a user would type.

    `ablate.bench.against` calls this, and `command`, in older checkouts: their names and arguments must stay.
    """
    from ablate.planning.plan import plan_file
    from ablate.store.stage import materialise

    shared, each = (len(plan_file(SWEEP, [f"seeds={seeds}"]).stages) for seeds in ([0], [0, 1]))
    seeds = max(1, -(-(runs - (2 * shared - each)) // (each - shared)))  # a seed adds each - shared stages
    overrides = [f"seeds={list(range(seeds))}".replace(" ", ""), f"root={root}"]
    took = {"planned": command(overrides)}
    print(f"planned in {took['planned'][0]:.1f} s", flush=True)
    plan = plan_file(SWEEP, overrides)
    if shutil.which("sbatch"):
        took["submitted"] = submitted(plan, root, resources)
    else:
        print("No sbatch here: submitting is not measured.")
    materialise(plan, root)
    widest = max(len(list(folder.iterdir())) for folder in root.glob("*"))
    for stage in plan.stages.values():
        path = run_path(root, stage.kind, stage.id) / "result.json"
        path.write_text(
            json.dumps({"format": FORMAT, "seconds": 1.0, "code": {"commit": None}, "attempt": "", "files": {}})
        )
    took["planned again, all done"] = command(overrides)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) * 1024
    print(
        f"{len(plan.stages)} runs of {len(plan.manifest)} rows and seeds; load {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores"
    )
    for what, (wall, cpu) in took.items():
        print(f"{what:<26}{wall:6.1f} s, {cpu:5.1f} s of its own processor time; limit {LIMITS[what]:.0f} s")
    print(f"{'largest process':<26}{peak / 1e6:6.0f} MB; limit {MEMORY / 1e6:.0f} MB")
    print(f"{'widest folder':<26}{widest:6} entries")
    return int(peak > MEMORY or any(wall > LIMITS[what] for what, (wall, _) in took.items()))


def command(overrides: list[str]) -> tuple[float, float]:
    """Wall-clock seconds and processor seconds of a dry run."""
    before, began = os.times(), time.monotonic()
    line = [sys.executable, "-m", "ablate.sweep", str(SWEEP), *overrides, "--dry-run"]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.monotonic() - began, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def submitted(plan, root: Path, resources: dict[str, int]) -> tuple[float, float]:
    """Seconds until all runs have a task, including folders, and this process's time in it; then all are cancelled."""
    from ablate.clusters.resources import Resources
    from ablate.clusters.schedule import QUEUED, Board
    from ablate.clusters.slurm import controller
    from ablate.clusters.slurm.jobs import Jobs
    from ablate.clusters.slurm.submit import Submission
    from ablate.drive import PROGRAM
    from ablate.store.stage import materialise

    os.environ["SBATCH_HOLD"] = "1"
    began, before = time.monotonic(), time.process_time()
    materialise(plan, root)
    jobs = Jobs(Board(plan.stages, root), "bench", Resources(resources, plan.kinds), PROGRAM)
    Submission(jobs).submit(controller.queue())
    took = time.monotonic() - began, time.process_time() - before
    del os.environ["SBATCH_HOLD"]
    arrays = {job.partition("_")[0] for job in jobs.jobs.values()}
    print(
        f"{jobs.board.count(QUEUED)} of {len(plan.stages)} runs are in the queue: {len(controller.queue())} tasks in "
        f"{len(arrays)} arrays, held"
    )
    controller.cancel(jobs.jobs.values())
    return took


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
