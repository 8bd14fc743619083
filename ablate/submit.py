"""Run stages as Slurm job arrays (submitit lives here only).

A job is told a stage's id, the root and where its code is, nothing else; where to go on it finds on disk, so that it
can be killed and requeued at any time. Which job runs a stage stands in its folder, in job.json.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ablate import schedule
from ablate.errors import UserError, nearest
from ablate.pool import EXECUTE, WORKER_ENVIRONMENT, function_named
from ablate.record import read_json, read_jsonl
from ablate.run import Busy, RunFolder, Stopped
from ablate.schedule import DONE, ELSEWHERE, FAILED, QUEUED, RUNNING, WAITING, Board

RESOURCES = {  # ours -> submitit's
    "mem_gb": "mem", "cpus": "cpus_per_task", "gpus": "gpus_per_node", "timeout_min": "time", "partition": "partition",
    "account": "account", "qos": "qos", "constraint": "constraint", "parallelism": "array_parallelism", "setup": "setup",
    "poll_s": "",  # ours alone: seconds between two looks at the queue
}  # fmt: skip


class Job:
    """What a Slurm task calls: one stage by id. It can be requeued at any time: the stage goes on from its folder."""

    def __init__(self, execute: str = EXECUTE):
        self.execute = execute

    def __call__(self, kind: str, id: str, root: str, code: str) -> None:
        """Run the stage; waits while another process runs it, and for Slurm to end it once asked to stop."""
        if not Path(__file__).is_relative_to(code):
            raise RuntimeError(f"This job was submitted with the code in {code} but runs that in {__file__}.")
        os.chdir(os.environ["SLURM_SUBMIT_DIR"])  # it started in the snapshot of the code; data paths start from here
        log = RunFolder(Path(root), kind, id).path / "logs" / "out.txt"
        while True:
            try:
                return _logged(log, lambda: function_named(self.execute)(id, Path(root)))
            except Busy:
                time.sleep(10)
            except Stopped:  # all is saved; a job that ended by itself now would count as failed, not as to be requeued
                time.sleep(600)
                raise

    def checkpoint(self, *arguments: str) -> Any:
        """Return what to run after a time-out or preemption: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def _logged(log: Path, function: Callable[[], None]) -> None:
    """Call `function`, its output and its traceback going to `log` as well as, for errors, to Slurm's own log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    kept = os.dup(1), os.dup(2)
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        function()
    except Exception:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)


def snapshot(root: Path) -> Path:
    """Copy the code under `root`/code and return the copy, so that edits do not reach jobs that wait in the queue."""
    source = Path(__file__).resolve().parents[1]
    files = sorted(f for room in ("ablate", "encoders", "objectives", "analysis") for f in (source / room).rglob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(source)).encode() + b"\0" + file.read_bytes() + b"\0")
    target = Path(root).resolve() / "code" / digest.hexdigest()[:16]
    if not target.exists():
        beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        for file in files:
            copy = beside / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        try:
            beside.rename(target)
        except OSError:  # another driver made the same copy first
            shutil.rmtree(beside)
    return target


def resources_for(kind: str, resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return submitit's parameters for a stage kind: plain entries hold for all kinds, mappings for the kind they name.

    Raises UserError for an unknown resource.
    """
    from ablate.stage import KINDS

    for name, value in resources.items():
        if name not in (KINDS if isinstance(value, Mapping) else RESOURCES):
            raise UserError(f"Unknown resource '{name}'; {nearest(name, [*RESOURCES, *KINDS])}")
    shared = {k: v for k, v in resources.items() if not isinstance(v, Mapping)}
    wanted = {"mem_gb": 4, "cpus": 1, "timeout_min": 120, **shared, **resources.get(kind, {})}
    for name in wanted:
        if name not in RESOURCES:
            raise UserError(f"Unknown resource '{name}' of '{kind}'; {nearest(name, RESOURCES)}")
    wanted["mem_gb"] = f"{wanted['mem_gb']}GB"
    return {RESOURCES[name]: value for name, value in wanted.items() if RESOURCES[name]}


def batches(board: Board, jobs: Iterable[str], largest: int) -> list[tuple[str, list[str], list[str]]]:
    """Group the waiting stages into arrays: (kind, stage ids, ids of the unfinished stages they wait for).

    An array holds stages of one kind that wait for the same stages, so that it waits for exactly those; parents come
    first. Of the stages waited for, those that another of them already waits for are left out. `jobs` are the stages
    that have a job; a stage that needs one without (somebody else runs it) is left for later.
    """
    groups: dict[tuple[int, str, tuple[str, ...]], list[str]] = {}
    depth: dict[str, int] = {}
    able = set(jobs)
    for id, stage in board.stages.items():
        parents = {parent for _, parent in stage.parents if board.state[parent] != DONE}
        depth[id] = 1 + max((depth[parent] for parent in parents), default=0)
        if board.state[id] == WAITING and parents <= able:
            able.add(id)
            implied = schedule.ancestors(board.stages, [p for x in parents for _, p in board.stages[x].parents])
            groups.setdefault((depth[id], stage.kind, tuple(sorted(parents - implied))), []).append(id)
    return [
        (kind, ids[start : start + largest], list(parents))
        for (_, kind, parents), ids in sorted(groups.items())
        for start in range(0, len(ids), largest)
    ]


class Slurm:
    """Submits stages as Slurm job arrays and follows them by their run folders and one squeue call at a time."""

    def __init__(self, board: Board, name: str, resources: Mapping[str, Any], execute: str = EXECUTE):
        for command in ("sbatch", "squeue", "scontrol", "srun"):
            if shutil.which(command) is None:
                raise UserError(f"cluster=slurm needs the command '{command}', which is not here; use a login node.")
        self.board, self.name, self.resources, self.execute = board, name, dict(resources), execute
        for kind in {stage.kind for stage in board.stages.values()}:
            resources_for(kind, resources)  # complain before anything is queued
        self.jobs: dict[str, str] = {}  # stage id -> job id
        self.missed: dict[str, int] = {}  # stage id -> how often its job was not in the queue
        self.logs = board.root.resolve() / "slurm"

    def adopt(self, queue: Mapping[str, str]) -> None:
        """Take up the jobs that an earlier command submitted and that still wait or run."""
        for id, folder in self.board.folders.items():
            known = folder.path / "job.json"
            if self.board.state[id] in (WAITING, ELSEWHERE) and known.exists() and read_json(known)["job"] in queue:
                self.jobs[id] = read_json(known)["job"]
                self.board.set(id, QUEUED)

    def submit(self) -> None:
        """Submit the waiting stages. Raises UserError when Slurm refuses; what it took by then is taken up next time."""
        import submitit

        todo = batches(self.board, self.jobs, _largest_array())
        if not todo:
            return
        os.environ.update(WORKER_ENVIRONMENT)  # sbatch hands the environment on
        root, code = str(self.board.root.resolve()), str(snapshot(self.board.root))
        go_there = [f"cd {shlex.quote(code)}", f'export PYTHONPATH={shlex.quote(code)}"${{PYTHONPATH:+:$PYTHONPATH}}"']
        for kind, ids, parents in todo:
            parameters = resources_for(kind, self.resources)
            parameters["setup"] = [*parameters.get("setup", []), *go_there]
            parameters["additional_parameters"] = {"kill-on-invalid-dep": "yes"}
            if parents:
                parameters["dependency"] = "afterok:" + ":".join(self.jobs[parent] for parent in parents)
            # a time-out is a requeue like any other: how often is up to the user, who can cancel
            executor = submitit.SlurmExecutor(folder=self.logs / "%j", max_num_timeout=1000)
            executor.update_parameters(job_name=f"{self.name}.{kind}", **parameters)
            try:
                jobs = executor.map_array(Job(self.execute), *zip(*((kind, id, root, code) for id in ids)))
            except Exception as error:  # submitit passes on sbatch's words in several types
                raise UserError(f"Slurm refused an array of {len(ids)} '{kind}' stages: {error}") from error
            for id, job in zip(ids, jobs):
                self.jobs[id] = job.job_id
                self.board.folders[id].write_json("job.json", {"job": job.job_id, "logs": str(job.paths.stderr)})
                self.board.set(id, QUEUED)

    def queue(self) -> dict[str, str]:
        """Return {job id: reason} of my jobs that wait or run. Raises UserError when squeue keeps failing."""
        command = ["squeue", "--me", "--array", "--noheader", "--format=%i|%r"]
        for wait in (2, 10, 30, 60, 0):
            said = subprocess.run(command, capture_output=True, text=True)
            if said.returncode == 0:
                return dict(line.strip().split("|", 1) for line in said.stdout.splitlines() if "|" in line)
            time.sleep(wait)  # the controller is busy or restarting
        raise UserError(f"squeue fails: {said.stderr.strip()} Jobs go on; run the same command again to watch them.")

    def follow(self, queue: Mapping[str, str]) -> None:
        """Update the board from the run folders and a listing of the queue."""
        for id, job in self.jobs.items():
            folder, state = self.board.folders[id], self.board.state[id]
            if folder.done:
                self.board.set(id, DONE)
            elif state in schedule.ENDED:
                continue
            elif job in queue:
                self.missed[id] = 0
                self.board.set(id, RUNNING if folder.holder() is not None else QUEUED)
                if queue[job] == "DependencyNeverSatisfied":
                    subprocess.run(["scancel", job], capture_output=True)
            else:
                self.missed[id] = self.missed.get(id, 0) + 1
        for id, misses in self.missed.items():  # in the order of submission, so parents before what they block
            if misses >= 2 and self.board.state[id] not in schedule.ENDED:  # a shared disk may show results late
                self.board.set(id, FAILED, self._why(id))

    def _why(self, id: str) -> str:
        attempts = list(read_jsonl(self.board.folders[id].path / "attempts.jsonl"))
        if attempts and attempts[-1].get("job") == self.jobs[id] and attempts[-1]["outcome"] == "failed":
            return "raised an error"
        return f"job {self.jobs[id]} left the queue without a result: cancelled, killed, out of time or of memory"


def run_slurm(board: Board, slurm: Slurm, show: Callable[[Board], None], stop: Callable[[], int], poll: float) -> None:
    """Submit, then follow until all stages ended or the user has seen enough; the jobs themselves go on.

    `poll` is the time in seconds between two looks at the queue; results are seen within a second or two.
    """
    slurm.adopt(slurm.queue())
    slurm.submit()
    looked = time.monotonic()
    while not board.ended and not stop():
        if time.monotonic() - looked >= poll:
            looked = time.monotonic()
            slurm.follow(slurm.queue())
            board.look()
            slurm.submit()
        for id in slurm.jobs:
            if board.state[id] in (QUEUED, RUNNING) and board.folders[id].done:
                board.set(id, DONE)
            elif board.state[id] == QUEUED and board.folders[id].holder() is not None:
                board.set(id, RUNNING)
        show(board)
        time.sleep(min(1.0, poll))


def _largest_array() -> int:
    """Return how many tasks an array may have on this cluster."""
    said = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True).stdout
    for line in said.splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "MaxArraySize":
            return max(1, int(value))
    return 1000
