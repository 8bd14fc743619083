"""What a Slurm task calls: it runs stages by id, one after another, each in a process of its own.

It holds only stage ids and a root. It can be killed and requeued at any time: stages resume from their folders.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any, Optional

from ablate.clusters import failure, local
from ablate.clusters.cluster import LATER, Program, function_named
from ablate.clusters.local import BUSY_CODE, PRUNED_CODE, STOPPED_CODE
from ablate.clusters.slurm import diagnosis
from ablate.store import files
from ablate.store.lock import me
from ablate.store.run import Busy, RunFolder, find

SIGNALS = {signal.SIGTERM, signal.SIGCONT, signal.SIGUSR1, signal.SIGUSR2}
LATE = 90.0  # seconds until a shared disk shows what another node wrote
COLLECTED = "collected.json"  # beside a collector's log: how it ended
SAVING = 20.0  # seconds for a stage to save when the job is about to be requeued


class Job:
    """Runs a task's stages in order. A stage that fails stops only the stages that start from it."""

    process: Optional[multiprocessing.process.BaseProcess] = None  # of the stage that runs now
    asked = False  # to stop

    def __init__(self, program: Program):
        self.program = program

    def __call__(self, ids: list[str], root: str, code: str) -> None:
        """Run the stages; raises RuntimeError at the end if any failed or lacked a parent."""
        if not Path(__file__).is_relative_to(code):
            raise RuntimeError(f"This job was submitted with the code in {code} but runs that in {__file__}.")
        os.chdir(os.environ["SLURM_SUBMIT_DIR"])  # it started in the snapshot of the code; data paths start from here
        signal.signal(signal.SIGTERM, self._stop)  # Slurm sends it to the stages too
        if int(os.environ.get("SLURM_NTASKS", "1")) > 1:
            from submitit.helpers import TorchDistributedEnvironment

            TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        if len(ids) > 1 and self.program.preload:
            importlib.import_module(self.program.preload)  # once for all stages of the task
        runs = {id: planned(Path(root), id) for id in ids}
        bad = [id for id, run in runs.items() if not self._done(run, runs)]
        if bad:
            raise RuntimeError(
                f"These stages of the task did not succeed: {', '.join(str(runs[id].path) for id in bad)}"
            )

    def checkpoint(self, *arguments: Any) -> Any:
        """Let the stage save, and return what to run after a time-out or preemption: the same."""
        from submitit.helpers import DelayedSubmission

        self.asked = True
        if self.process is not None:
            self.process.terminate()
            self.process.join(SAVING)
        return DelayedSubmission(Job(self.program), *arguments)

    def _stop(self, *_: Any) -> None:
        self.asked = True

    def _done(self, run: RunFolder, together: dict[str, RunFolder]) -> bool:
        """Run one stage to its end, waiting while another process runs it; return whether it is done."""
        if run.done:
            return True
        job = me()["job"]
        log = Path(os.environ["SUBMITIT_FOLDER"]) / f"{job}_0_log.err"
        known = failure.read(run)
        if known is not None and known.job == job:
            return False  # before this job was requeued
        for _, parent in run.identity()["parents"]:
            if not _appears(run.root, parent, 0.0 if parent in together else LATE):
                failure.write(run, failure.Failure(failure.AGAIN, f"starts from {parent}, which was not done", job))
                print(f"{run.path} is not run: it starts from {parent}, which is not done.", flush=True)
                return False
        while True:
            code = self._process(run)
            if code == 0 or run.done:  # done by another process that took this one for dead
                return True
            if code != BUSY_CODE:
                break
            time.sleep(10)
        with contextlib.suppress(Busy):  # a killed process leaves its lock, which other hosts trust for a long time
            run.bury()
        if code == -signal.SIGKILL:
            time.sleep(2)  # whatever killed it may be about to end this process too
        if self.asked or code in (STOPPED_CODE, -signal.SIGTERM):
            time.sleep(600)  # all is saved; a job that ended by itself now would count as failed and not be requeued
            raise RuntimeError("Asked to stop, but neither requeued nor cancelled.")
        if code == PRUNED_CODE:
            failure.write(run, failure.Failure(failure.AGAIN, failure.PRUNED, job))
            return False
        failure.write(run, verdict := diagnosis.of_exit(run, job, code, log))
        print(f"{run.path} failed: {verdict}", flush=True)
        return False

    def _process(self, run: RunFolder) -> int:
        """Run a stage in a child process; return its exit status. Signals to this process must not interrupt the
        child's start.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        child = multiprocessing.get_context("fork").Process(target=_child, args=(before, self.program, run))
        child.start()
        self.process = child
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        child.join()
        self.process = None
        return child.exitcode


def _child(mask: set[int], program: Program, run: RunFolder) -> None:
    for number in SIGNALS:  # submitit's own signal is for the task, which asks the stage to stop by SIGTERM
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    rank = os.environ.get("RANK", "0")
    local.work(program, run.kind, run.id, run.root, "out.txt" if rank == "0" else f"rank{rank}.txt")


def planned(root: Path, id: str) -> RunFolder:
    """Return the folder of a stage of any kind. Raises FileNotFoundError if it was not planned under this root."""
    if (run := find(root, id)) is not None:
        return run
    raise FileNotFoundError(f"No stage {id} under {root}; was the folder removed?")


def _appears(root: Path, id: str, seconds: float) -> bool:
    """Whether a stage is done now or within `seconds`; a stage known to have failed is not waited for."""
    end = time.monotonic() + seconds
    while (run := find(root, id)) is None or not run.done:
        known = failure.read(run) if run is not None else None
        if time.monotonic() >= end or (known is not None and known.kind not in failure.FORGIVEN):
            return False
        time.sleep(1)
        if run is not None and run.path.is_dir():
            os.listdir(run.path)  # makes a network file system refresh the folder
    return True


class Collector:
    """The command again, in a job of its own: it submits more, cancels orphans, reports, and leaves a successor if
    needed.
    """

    def __init__(self, main: str, arguments: list[str]):
        self.main, self.arguments = main, arguments

    def __call__(self) -> int:
        """Run the command. Raises what it raises, and RuntimeError if it ends with an exit status other than 0: the job
        then counts as failed in Slurm, and a file beside its log tells `--status`.
        """
        os.chdir(os.environ["SLURM_SUBMIT_DIR"])
        why = "it was killed"
        try:
            while (status := function_named(self.main)(self.arguments)) == LATER:
                time.sleep(60)
            why = f"it ended with exit status {status}: not everything succeeded" if status else ""
        except BaseException as error:
            why = f"{type(error).__name__}: {error}"
            raise
        finally:
            note = {"job": me()["job"], "why": why}
            files.replace(Path(os.environ["SUBMITIT_FOLDER"]) / COLLECTED, json.dumps(note).encode())
        if why:
            raise RuntimeError(f"The collector failed: {why}.")
        return status

    def checkpoint(self) -> Any:
        """Return what to run after a time-out or preemption: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
