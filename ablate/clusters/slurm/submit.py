"""Submit stages as Slurm job arrays and follow them (submitit lives here, and in the job that it calls).

All state is on disk: which job runs which stage (`ablate.clusters.slurm.journal`), why one failed
(`ablate.clusters.failure`), results. Any number of commands may follow the same jobs, one after another or at
once.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ablate.clusters import failure, schedule
from ablate.clusters.cluster import Program
from ablate.clusters.failure import Failure
from ablate.clusters.local import WORKER_ENVIRONMENT
from ablate.clusters.resources import COLLECT, Resources
from ablate.clusters.schedule import BLOCKED, DONE, ELSEWHERE, FAILED, QUEUED, RUNNING, WAITING, Board
from ablate.clusters.slurm import controller, diagnosis, pack
from ablate.clusters.slurm.controller import Queued
from ablate.clusters.slurm.job import Collector, Job
from ablate.clusters.slurm.journal import Journal
from ablate.errors import UserError
from ablate.store.snapshot import snapshot

LIMIT = (
    r"submit\w*job\w*limit|job submit limit|MaxSubmitJobs"  # too many jobs of mine: submit more when some have ended
)
BUSY = r"timed out|unable to contact|temporarily un|zero bytes|connection refused|communication"  # try again later
BLAMELESS = {
    failure.PREEMPTED: 10,
    failure.NODE: 3,
}  # kinds of failure that are nobody's fault: how often to submit at most


class Refused(Exception):
    """Slurm did not take an array for now: "limit" or "busy"."""


class Jobs:
    """Submits the waiting stages of a board and follows their jobs by run folders and one squeue call at a time."""

    def __init__(self, board: Board, name: str, resources: Resources, program: Program):
        for command in ("sbatch", "squeue", "scancel", "scontrol", "srun"):
            if shutil.which(command) is None:
                raise UserError(f"cluster=slurm needs the command '{command}', which is not here; use a login node.")
        self.board, self.name, self.program, self.resources = board, name, program, resources
        for kind in {stage.kind for stage in board.stages.values()}:
            resources.for_submitit(kind)  # complain before anything is queued
        cluster, self.largest = controller.limits()
        self.journal = Journal(board.root, cluster)
        self.jobs: dict[str, str] = {}  # stage id -> job id
        self.running: set[str] = set()  # stages whose task runs
        self.missed: dict[str, int] = {}  # stage id -> how often its job was not in the queue
        self.over: dict[str, str] = {}  # stage id -> job whose end was dealt with
        self.refused, self.tries, self.full, self.busy, self.not_before = "", 0, 0, 0, 0.0

    # Following --------------------------------------------------------------------------------------------------

    def adopt(self, queue: Mapping[str, Queued]) -> None:
        """Take up what any command submitted: jobs that wait or run, failures, and jobs that are gone unseen."""
        self.journal.read()
        for id in self.board.stages:  # parents first: their failure blocks
            job, state = self.journal.latest.get(id), self.board.state[id]
            if state not in (WAITING, ELSEWHERE, BLOCKED) or (
                job is not None and job in (self.jobs.get(id), self.over.get(id))
            ):
                continue
            known = self.known(id)
            if job is not None and (job in queue or (known is None and state != ELSEWHERE)):
                self.jobs[id] = job
                if state != BLOCKED:
                    self.board.set(id, QUEUED)
            elif known is not None and state == WAITING and known.kind not in failure.FORGIVEN:
                self._failed(id, known)

    def known(self, id: str) -> Optional[Failure]:
        """Return the failure of a stage's latest job, None when there is none."""
        last, job = failure.read(self.board.folders[id]), self.journal.latest.get(id)
        return None if last is None or (job is not None and last.job != job) else last

    def follow(self, queue: Mapping[str, Queued]) -> None:
        """Update the board from the run folders and a listing of the queue, parents first."""
        gone: dict[str, str] = {}
        self.running = {id for id, job in self.jobs.items() if job in queue and queue[job].state != "PENDING"}
        for id in [id for id in self.board.stages if id in self.jobs]:
            job = self.jobs[id]
            if self.look(id):
                continue
            if job in queue:
                self.missed[id] = 0
                if queue[job].reason == controller.NEVER:
                    controller.cancel([job])
            else:
                self.missed[id] = self.missed.get(id, 0) + 1
                if self.missed[id] >= 2:  # a shared disk may show results late
                    gone[id] = job
        states = controller.ended(gone.values()) if gone else {}
        for id, job in gone.items():
            if self.board.state[id] not in schedule.ENDED:
                self._gone(id, job, states.get(job))
        self._withdraw(queue)

    def look(self, id: str) -> bool:
        """Bring a submitted stage up to date with its folder; True if it ended."""
        folder = self.board.folders[id]
        if folder.done:
            self.board.set(id, DONE)
        if self.board.state[id] in schedule.ENDED:
            return True
        known = failure.read(folder)
        if known is not None and known.job == self.jobs[id]:
            if known.kind == failure.AGAIN:
                self._wait_again(id)
            else:
                self._failed(id, known)
            return True
        self.board.set(id, RUNNING if folder.holder() is not None else QUEUED)
        return False

    def _gone(self, id: str, job: str, state: Optional[str]) -> None:
        """Decide about a stage whose job left the queue without a result of it."""
        folder, parents = self.board.folders[id], self.board.stages[id].awaits(self.board.stages)
        together = [one for one in self.journal.tasks[job].stages if one in self.board.folders]
        begun = any(diagnosis.started(self.board.folders[one], job) for one in together)
        innocent = begun and not diagnosis.started(folder, job) and state != "CANCELLED"
        if innocent or any(self.board.state[parent] == WAITING for parent in parents):
            self._wait_again(id)  # the task ended at the hands of another stage, or a parent is run again
            return
        verdict = diagnosis.of_job(folder, job, state, self.journal.tasks[job].log)
        failure.write(folder, verdict)
        self._failed(id, verdict)

    def _failed(self, id: str, verdict: Failure) -> None:
        """Take note of a failure; what is nobody's fault is submitted again, and what lacked memory once, with less
        need.
        """
        folder, stage = self.board.folders[id], self.board.stages[id]
        if verdict.kind == failure.MEMORY and stage.trains and not folder.spares_memory:
            folder.spare_memory(verdict.why)
            self._wait_again(id, f"{verdict}; once more with activation checkpointing")
        elif self.journal.times.get(id, 0) < BLAMELESS.get(verdict.kind, 0):
            self._wait_again(id, f"{verdict}; once more")
        else:
            if verdict.kind == failure.MEMORY:
                verdict = diagnosis.advice(verdict, stage.kind)
            self.board.set(id, FAILED, str(verdict))

    def _wait_again(self, id: str, why: str = "") -> None:
        """Have a stage submitted anew, by this command or by the next."""
        job = self.over[id] = self.jobs.pop(id, None) or self.journal.latest.get(id, "")
        self.missed.pop(id, None)
        failure.write(self.board.folders[id], Failure(failure.AGAIN, why, job))
        if self.board.state[id] not in schedule.ENDED:
            self.board.set(id, WAITING, why)

    def _withdraw(self, queue: Mapping[str, Queued]) -> None:
        """Cancel the pending tasks of stages that can no longer run, or whose parents are to be submitted anew."""
        orphans = set()
        for id, job in self.jobs.items():
            parents = [self.board.state[parent] for parent in self.board.stages[id].awaits(self.board.stages)]
            if self.board.state[id] == BLOCKED or (self.board.state[id] == QUEUED and WAITING in parents):
                if job not in queue or queue[job].state == "PENDING":
                    if all(
                        one in self.board.stages for one in self.journal.tasks[job].stages
                    ):  # else others want it too
                        orphans.add(job)
        controller.cancel(orphans & queue.keys())
        for id in [id for id, job in self.jobs.items() if job in orphans]:
            if self.board.state[id] == BLOCKED or self.board.state[id] not in schedule.ENDED:
                self._wait_again(id)

    # Submitting -------------------------------------------------------------------------------------------------

    def submit(self, queue: Mapping[str, Queued], collect: Optional[Collector] = None) -> None:
        """Submit the waiting stages, as many as Slurm takes. Raises UserError when it never will.

        A job that will `collect` is submitted first, so that limits leave room for it.
        """
        full = self.refused == "limit" and len(queue) >= self.full
        self.tries += 1
        if time.monotonic() < self.not_before or (full and self.tries % 10):
            return
        self.code, self.refused = snapshot(self.board.root), ""
        kinds = {stage.kind for stage in self.board.stages.values()}
        shapes = {kind: json.dumps(self.resources.wanted(kind), sort_keys=True) for kind in kinds}
        lasting = {kind: self.resources.seconds_of_task(kind) for kind in kinds}
        arrays = pack.arrays(self.board, self.jobs, self.largest, shapes, lasting)
        width: dict[int, int] = {}
        for array in arrays:
            width[array.depth] = width.get(array.depth, 0) + len(array.tasks)
        collector = None
        try:
            if collect is not None and (arrays or self._arrays()):
                collector = self._collector(queue, collect)
            for array in arrays:
                self._submit(array, len(array.tasks) / width[array.depth], bool(queue or collector))
            self.busy = 0
        except Refused as why:
            self.refused, self.full = str(why), len(queue.keys() | set(self.jobs.values()))
            if self.refused == "busy":
                self.busy += 1
                self.not_before = time.monotonic() + min(300.0, 2.0**self.busy)
        if collector is not None:
            self._point(collector)

    def _submit(self, array: pack.Array, share: float, others: bool) -> None:
        """Submit an array, in smaller pieces when limits leave room for no more. Raises Refused when that is
        not all.
        """
        rest, size = list(array.tasks), len(array.tasks)
        parents = {self.jobs[parent] for parent in array.parents}
        # of several stages in a task one may fail: then the rest is fine, and the job looks for its parents itself
        waits = [
            f"{'afterok' if len(self.journal.tasks[job].stages) == 1 else 'afterany'}:{job}" for job in sorted(parents)
        ]
        if array.wave:
            waits = sorted({f"afterany:{job.partition('_')[0]}" for job in parents})
        while rest:
            parameters = self._parameters(array.kind, ",".join(waits))
            parameters["array_parallelism"] = max(1, round(parameters.get("array_parallelism", 256) * share))
            part = rest[:size]
            try:
                folder, jobs = self._sbatch(array.kind, parameters, Job(self.program), part)
            except Refused as why:
                if str(why) == "limit" and size > 1:
                    size //= 2
                    continue
                if str(why) == "limit" and not (others or self.jobs):
                    raise UserError(f"Slurm refuses a single '{array.kind}' job: {why.__cause__}") from why
                raise
            self.journal.write(folder, jobs, part, self.name)
            for job, ids in zip(jobs, part):
                for id in ids:
                    self.jobs[id] = job
                    self.board.set(id, QUEUED)
            rest = rest[size:]

    def _parameters(self, kind: str, dependency: str) -> dict[str, Any]:
        code = shlex.quote(str(self.code))
        parameters = self.resources.for_submitit(kind)
        go_there = [f"cd {code}", f'export PYTHONPATH={code}"${{PYTHONPATH:+:$PYTHONPATH}}"']
        parameters["setup"] = [*parameters.get("setup", []), *go_there]
        if dependency:
            parameters["dependency"] = dependency
            parameters["additional_parameters"] = {"kill-on-invalid-dep": "yes"}
        if parameters.get("ntasks_per_node", 1) * parameters.get("nodes", 1) > 1:
            parameters["srun_args"] = ["--kill-on-bad-exit=1"]  # ranks that lost one wait in vain
        return parameters

    def _sbatch(
        self, kind: str, parameters: dict[str, Any], call: Any, tasks: list[list[str]]
    ) -> tuple[Path, list[str]]:
        """Submit; returns the folder of the logs, and job ids. Raises Refused, or UserError with sbatch's words."""
        import submitit

        os.environ.update(WORKER_ENVIRONMENT)  # sbatch hands the environment on
        root, code = str(self.board.root.resolve()), str(self.code)
        # a time-out is a requeue like any other: how often is up to the user, who can cancel
        folder = self.journal.fresh(f"{self.name}.{kind}")
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=1000)
        executor.update_parameters(job_name=f"{self.name}.{kind}", **parameters)
        try:
            if isinstance(call, Collector):
                return folder, [executor.submit(call).job_id]
            return folder, [
                job.job_id for job in executor.map_array(call, tasks, [root] * len(tasks), [code] * len(tasks))
            ]
        except Exception as error:  # submitit passes on sbatch's words in several types
            for pattern, why in ((LIMIT, "limit"), (BUSY, "busy")):
                if re.search(pattern, str(error), re.IGNORECASE):
                    raise Refused(why) from error
            raise UserError(f"Slurm refused {len(tasks)} '{kind}' jobs: {error}") from error

    def _collector(self, queue: Mapping[str, Queued], collect: Collector) -> str:
        """Return the job that will collect: one that already waits, else a new one, held until there is what to wait
        for.
        """
        waiting = [job for job, one in queue.items() if one.name == self.collects and one.state == "PENDING"]
        parameters = self._parameters(COLLECT, "") | {"additional_parameters": {"hold": True}}
        return waiting[0] if waiting else self._sbatch(COLLECT, parameters, collect, [])[1][0]

    def _point(self, collector: str) -> None:
        """Have the collector wait for all that is submitted; for any part of it when more is to follow."""
        if not self._arrays():
            controller.cancel([collector])
            return
        after = ("?" if self.refused else ",").join(f"afterany:{array}" for array in self._arrays())
        said = controller.release(collector, after)
        if said:
            print(f"note: the collector, job {collector}, could not be told what to wait for: {said}", file=sys.stderr)

    def _arrays(self) -> list[str]:
        open_ = {job.partition("_")[0] for id, job in self.jobs.items() if self.board.state[id] not in schedule.ENDED}
        return sorted(open_, key=int)

    @property
    def collects(self) -> str:
        """Name of the jobs that run the command again."""
        return f"{self.name}.{COLLECT}"
