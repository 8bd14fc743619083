"""Decide about a stage whose job left the queue without a result: it failed, is to be run again, or its files may still
appear.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from ablate.clusters import failure
from ablate.clusters.failure import Failure
from ablate.clusters.schedule import DONE, WAITING, Board
from ablate.clusters.slurm import diagnosis
from ablate.clusters.slurm.controller import Queued
from ablate.clusters.slurm.job import LATE
from ablate.clusters.slurm.journal import Journal
from ablate.store.record import read_jsonl

ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED", "REQUEUE_HOLD", "SIGNALING")
BLAMELESS = {
    failure.PREEMPTED: 10,
    failure.NODE: 3,
    failure.FORGOTTEN: 3,
}  # kinds of failure that are nobody's fault -> how often a stage may fail that way
UNEXPLAINED = (failure.CANCELLED_PENDING, failure.KILLED, failure.LOST)  # maybe a controller that crashed forgot it
RUNAWAY = 900.0  # seconds after which a job that left the queue counts as over, even if accounting calls it alive


@dataclass(frozen=True)
class Inquest:
    """Decides about jobs that are gone, from Slurm's reports and the run folders; changes nothing."""

    board: Board
    journal: Journal
    jobs: Mapping[str, str]
    """The job of each submitted stage, by the stage's id."""
    queue: Mapping[str, Queued]
    states: Mapping[str, str]
    """Final states of jobs that left the queue, by id, as far as Slurm remembers them."""
    booted: float
    """When the controller was started, in seconds since the epoch by its clock."""

    def alive(self, id: str, missed: float) -> bool:
        """Whether accounting calls a stage's job alive and is to be believed; the job has been missing from the queue
        for `missed` seconds.
        """
        return self.states.get(self.jobs[id]) in ALIVE and missed < RUNAWAY

    def verdict(self, id: str, missed: float) -> Optional[Failure]:
        """Why a stage has no result although its job has been missing from the queue for `missed` seconds: a failure,
        with kind "to be run again" if the stage is not to blame; None if its files may still appear.
        """
        job, folder = self.jobs[id], self.board.folders[id]
        state = self.states.get(job)
        begun = diagnosis.started(folder, job) or any(
            diagnosis.started(self.board.folders[child], self.jobs[child])
            for child in self.board.children(id)
            if child in self.jobs
        )
        if (state == "COMPLETED" or (state is None and begun)) and missed < LATE:
            return None
        return self._failure(id, job) or Failure(failure.AGAIN, "", job)

    def _failure(self, id: str, job: str) -> Optional[Failure]:
        """The failure of a stage whose files will not appear; None if it is to be run again."""
        folder, state = self.board.folders[id], self.states.get(job)
        parents = list(self.board.stages[id].awaits(self.board.stages))
        state = None if state in ALIVE else state
        together = [one for one in self.journal.tasks[job].stages if one in self.board.folders]
        begun = any(diagnosis.started(self.board.folders[one], job) for one in together)
        innocent = begun and not diagnosis.started(folder, job) and state != "CANCELLED"
        waited = self.journal.tasks[job].noted
        before = [self.journal.latest[one] for one in parents if one in self.journal.latest]
        newer = any(self.journal.tasks[one].noted > waited for one in before)  # it waited for a job that failed
        if innocent or (newer and not begun) or any(self.board.state[parent] == WAITING for parent in parents):
            return None  # another stage ended the task, or a parent is run again
        if (
            not begun
            and state in ("CANCELLED", None)
            and (self._was_put_back(before, waited) or self._shaken(before, parents))
            and self.journal.times.get(id, 0) < BLAMELESS[failure.PREEMPTED]
        ):
            return None
        if state == "COMPLETED" and not begun:  # it was done, and its folder was removed
            return None
        verdict = diagnosis.of_job(folder, job, state, self.journal.tasks[job].log)
        if state is None and self.booted > waited and verdict.kind in UNEXPLAINED:
            when = time.strftime("%H:%M:%S", time.localtime(self.booted))
            why = f"job {job} is not known to the controller that was started at {when}"
            verdict = Failure(failure.FORGOTTEN, why, job, verdict.logs)
        return verdict

    def _was_put_back(self, jobs: list[str], since: float) -> bool:
        """Whether Slurm requeued one of the jobs since then, as after a node failure: it cancels jobs that
        depend on it.
        """
        return any(job in self.queue and self.queue[job].submitted > since for job in jobs)

    def _shaken(self, jobs: list[str], parents: list[str]) -> bool:
        """Whether one of the parents' jobs ended badly, or was requeued after a node failure, even with its stage done:
        Slurm counts that as a failure and cancels jobs that depend on it.
        """
        if any(self.states.get(job) not in (None, "COMPLETED", *ALIVE) for job in jobs):
            return True
        if not all(self.board.state[parent] == DONE for parent in parents):
            return False
        tried = [[*read_jsonl(self.board.folders[parent].path / "attempts.jsonl")] for parent in parents]
        return any(self.states.get(job) != "COMPLETED" for job in jobs) or any(len(attempts) > 1 for attempts in tried)
