"""Submit the waiting stages of a sweep as Slurm job arrays, and the job that collects."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from typing import Any, Optional

from ablate.clusters import schedule
from ablate.clusters.resources import COLLECT
from ablate.clusters.schedule import QUEUED
from ablate.clusters.slurm import controller, pack, sbatch
from ablate.clusters.slurm.controller import Queued, Silent
from ablate.clusters.slurm.job import Collector, Job
from ablate.clusters.slurm.jobs import Jobs
from ablate.errors import UserError
from ablate.store.snapshot import snapshot

LEAVING = 60.0  # seconds for a job to leave the queue after its stages have ended


class Submission:
    """Submits the stages that have no job yet, as many as Slurm and the user allow at a time."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs, self.board, self.resources = jobs, jobs.board, jobs.resources
        self.refused = ""  # what limited the last submission: Slurm's "limit", or our own "parallelism"
        self.tries, self.full = 0, 0
        self.ended: dict[str, float] = {}  # job whose stages have all ended -> when that was noticed

    def submit(self, queue: Mapping[str, Queued], collect: Optional[Collector] = None) -> None:
        """Submit the waiting stages, as many as Slurm takes. Raises UserError if it never will, and Silent if it is
        unknown whether it did: the next call will find out.

        A job that will `collect` is submitted first, so that limits leave room for it.
        """
        full = self.refused == "limit" and len(queue) >= self.full
        self.tries += 1
        if full and self.tries % 10:
            return
        self.code, self.refused = snapshot(self.board.root), ""
        kinds = {stage.kind for stage in self.board.stages.values()}
        shapes = {kind: json.dumps(self.resources.wanted(kind), sort_keys=True) for kind in kinds}
        lasting = {kind: self.resources.seconds_of_task(kind) for kind in kinds}
        arrays = pack.arrays(self.board, self.jobs.jobs, self.jobs.largest, shapes, lasting)
        collector = None
        try:
            if collect is not None and (arrays or self._arrays()):
                collector = self._collector(queue, collect)
            for array in arrays:
                self._array(array, queue, bool(queue or collector))
        except sbatch.Full:
            self.refused, self.full = "limit", len(queue.keys() | set(self.jobs.jobs.values()))
        finally:  # also if the rest was refused for good: the collector would stay held for ever
            if collector is not None:
                self._point(collector)

    def _array(self, array: pack.Array, queue: Mapping[str, Queued], others: bool) -> None:
        """Submit an array, in smaller pieces if limits leave room for no more. Raises sbatch.Full if not all was
        submitted.
        """
        jobs, rest, size = self.jobs, list(array.tasks), len(array.tasks)
        parents = {jobs.jobs[parent] for parent in array.parents}
        # if one of several stages in a task fails, the others may be fine: the job then checks its parents itself
        waits = [
            f"{'afterok' if len(jobs.journal.tasks[job].stages) == 1 else 'afterany'}:{job}" for job in sorted(parents)
        ]
        if array.wave:
            waits = sorted({f"afterany:{job.partition('_')[0]}" for job in parents})
        while rest:
            free = self._free(queue)
            if free == 0:
                self.refused = "parallelism"
                return
            part = rest[:size]
            throttle = min(len(part), free)
            parameters = self._parameters(array.kind, ",".join(waits)) | {"array_parallelism": throttle}
            try:
                self._submit(array.kind, parameters, part, throttle)
            except sbatch.Full as why:
                if size == 1 and not (others or jobs.jobs):
                    raise UserError(f"Slurm refuses a single '{array.kind}' job: {why}") from why
                if size == 1:
                    raise
                size //= 2
                continue
            rest = rest[size:]

    def _submit(self, kind: str, parameters: dict[str, Any], tasks: list[list[str]], throttle: int) -> None:
        """Submit tasks of stages, noting the intent first. Raises as `sbatch.sbatch` does."""
        jobs, root, code = self.jobs, str(self.board.root.resolve()), str(self.code)
        folder, minutes = jobs.journal.fresh(f"{jobs.name}.{kind}"), parameters["time"]
        how = {"code": code, "minutes": minutes, "throttle": throttle}
        intent = jobs.journal.intend(folder, tasks, jobs.name, how)
        try:
            ids = sbatch.sbatch(folder, len(tasks), self._named(kind, parameters), intent.mark)
        except Silent:
            jobs.journal.fail(intent)
            jobs.unsure.update(id for task in tasks for id in task)
            raise
        except (sbatch.Full, UserError):
            jobs.journal.drop(intent)
            raise
        sbatch.hand_over(folder, ids, [(Job(jobs.program), ids_, root, code) for ids_ in tasks], minutes)
        jobs.journal.write(intent, ids)
        for job, stages in zip(ids, tasks):
            for id in stages:
                jobs.jobs[id] = job
                self.board.set(id, QUEUED)

    def _free(self, queue: Mapping[str, Queued]) -> int:
        """Number of further tasks that may run at once, over all arrays of this sweep, whichever command submitted
        them. A task counts until it has left the queue or, if its stages have ended, for one minute more: a controller
        that crashed may list it much longer.
        """
        most, jobs = self.resources.get("parallelism", None), self.jobs
        if most is None:
            return 10**6
        tasks = ((job, jobs.journal.tasks.get(job)) for job in queue)
        there = {job for job, task in tasks if task is not None and task.stages and task.sweep == jobs.name}
        for job in there:
            if all(self.board.state.get(id) in schedule.ENDED for id in jobs.journal.tasks[job].stages):
                self.ended.setdefault(job, time.monotonic())
        there -= {job for job, since in self.ended.items() if time.monotonic() - since > LEAVING}
        there |= {job for id, job in jobs.jobs.items() if self.board.state[id] not in schedule.ENDED}
        left: dict[str, int] = {}
        for job in there:
            array = job.partition("_")[0]
            left[array] = min(jobs.journal.tasks[job].throttle, left.get(array, 0) + 1)
        return max(0, most - sum(left.values()))

    def _named(self, kind: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return {**parameters, "job_name": f"{self.jobs.name}.{kind}"}

    def _parameters(self, kind: str, dependency: str) -> dict[str, Any]:
        code = shlex.quote(str(self.code))
        parameters = self.resources.for_submitit(kind)
        go_there = [f"cd {code}", f'export PYTHONPATH={code}"${{PYTHONPATH:+:$PYTHONPATH}}"']
        parameters["setup"] = [*parameters.get("setup", []), *go_there]
        if dependency:
            parameters = _with(parameters, {"kill-on-invalid-dep": "yes"}) | {"dependency": dependency}
        if parameters.get("ntasks_per_node", 1) * parameters.get("nodes", 1) > 1:
            parameters["srun_args"] = ["--kill-on-bad-exit=1"]  # if one rank is lost, the others would wait in vain
        return parameters

    def _collector(self, queue: Mapping[str, Queued], collect: Collector) -> str:
        """Return the job that will collect: a waiting one that is to do exactly the same, or a new one, held until
        there are jobs to wait for. Other collectors of this sweep are replaced, also one that never received its work.
        """
        jobs, mark = self.jobs, self.jobs.collectors.mark(collect)
        waiting = {job: todo for job, todo in jobs.collectors.there(queue).items() if queue[job].state == "PENDING"}
        same = [job for job, todo in waiting.items() if mark.endswith(f":{todo}") and job in jobs.journal.tasks]
        controller.cancel([job for job in waiting if job not in same[:1]])
        if same:
            return same[0]
        folder, parameters = jobs.journal.fresh(jobs.collectors.name), self._parameters(COLLECT, "")
        how = {"code": str(self.code), "minutes": parameters["time"], "throttle": 1}
        held = _with(self._named(COLLECT, parameters), {"hold": True})
        folder.mkdir(parents=True, exist_ok=True)
        ids = sbatch.sbatch(folder, 1, held, mark)
        sbatch.hand_over(folder, ids, [(collect,)], parameters["time"])
        jobs.journal.write(jobs.journal.intend(folder, [[]], jobs.name, how), ids)
        return ids[0]

    def _point(self, collector: str) -> None:
        """Make the collector wait for all that is submitted, or for any part of it if more is to follow."""
        if not self._arrays():
            controller.cancel([collector])
            return
        after = ("?" if self.refused else ",").join(f"afterany:{array}" for array in self._arrays())
        controller.release(collector, after)

    def _arrays(self) -> list[str]:
        jobs = self.jobs.jobs
        open_ = {job.partition("_")[0] for id, job in jobs.items() if self.board.state[id] not in schedule.ENDED}
        return sorted(open_, key=int)


def _with(parameters: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Add options of sbatch that submitit has no name for."""
    return {**parameters, "additional_parameters": {**parameters.get("additional_parameters", {}), **options}}
