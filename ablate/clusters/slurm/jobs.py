"""Follow the jobs of a sweep: what waits, runs or ended, and what is to be submitted again.
`ablate.clusters.slurm.gone` decides about stages whose job is gone.

All state is on disk: which job runs which stage (`ablate.clusters.slurm.journal`), why a stage failed
(`ablate.clusters.failure`), and results. Any number of commands may follow the same jobs, one after another or at
the same time. If Slurm does not answer, nothing is decided: `controller.Silent` goes to the caller.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from typing import Optional

from ablate.clusters import failure, schedule
from ablate.clusters.cluster import Program
from ablate.clusters.failure import Failure
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import BLOCKED, DONE, ELSEWHERE, FAILED, QUEUED, RUNNING, WAITING, Board
from ablate.clusters.slurm import controller, diagnosis, reasons, sbatch
from ablate.clusters.slurm.collectors import Collectors
from ablate.clusters.slurm.controller import Queued
from ablate.clusters.slurm.gone import BLAMELESS, Inquest
from ablate.clusters.slurm.job import Job
from ablate.clusters.slurm.journal import NAME, Intent, Journal
from ablate.errors import UserError
from ablate.store import pruned
from ablate.store.lock import read_lock

FUTILE = 60.0  # if only jobs that can never start are queued for this many seconds, they count as failed


class Jobs:
    """The jobs of a board's stages, followed by run folders and one squeue call at a time."""

    def __init__(self, board: Board, name: str, resources: Resources, program: Program):
        """Wait for Slurm to answer, if need be. Raises UserError if there is no Slurm, KeyboardInterrupt when told to
        stop meanwhile.
        """
        for command in ("sbatch", "squeue", "scancel", "scontrol", "srun"):
            if shutil.which(command) is None:
                raise UserError(f"cluster=slurm needs the command '{command}', which is not here; use a login node.")
        self.board, self.name, self.program, self.resources = board, name, program, resources
        for kind in {stage.kind for stage in board.stages.values()}:
            resources.for_submitit(kind)  # report errors before anything is queued
        cluster, self.largest = controller.patiently(controller.limits)
        self.journal, self.collectors = Journal(board.root, cluster), Collectors(board, name)
        self.jobs: dict[str, str] = {}  # stage id -> job id
        self.running: set[str] = set()  # stages whose task runs
        self.missed: dict[str, tuple[int, float]] = {}  # stage id -> how often its job was not in the queue, since when
        self.over: dict[str, str] = {}  # stage id -> job whose end was handled
        self.unsure: set[str] = set()  # stages of arrays that Slurm may or may not have
        self.open: list[Intent] = []  # arrays that were unconfirmed at the last look at the queue, and when that was
        self.asked = 0.0
        self.futile: Optional[float] = None  # since when no queued job can ever start

    # What earlier commands left ---------------------------------------------------------------------------------

    def queue(self) -> dict[str, Queued]:
        """What is in the queue, without jobs that have the id of one of ours by chance: a controller that lost its
        state assigns ids again.
        """
        self.asked = time.monotonic()
        queue = controller.queue()
        self.open = self.journal.intents()  # read first: an intent settled meanwhile is then still among them
        self.journal.read()

        def ours(job: str, one: Queued) -> bool:
            task = self.journal.tasks.get(job)
            return task is None or not task.mark or one.comment == task.mark or one.name.startswith(f"{task.sweep}.")

        return {job: one for job, one in queue.items() if ours(job, one)}

    def adopt(self, queue: Mapping[str, Queued]) -> None:
        """Take over what any command submitted: waiting and running jobs, failures, and jobs that ended unnoticed."""
        self.settle(queue)
        for id in self.board.stages:  # parents first: their failure blocks
            job, state = self.journal.latest.get(id), self.board.state[id]
            if state not in (WAITING, ELSEWHERE, BLOCKED) or (
                job is not None and job in (self.jobs.get(id), self.over.get(id))
            ):
                continue
            known = self.known(id)
            if known is not None and known.kind in failure.FORGIVEN:
                self.over[id] = known.job or ""  # the job may still be ending: a wanted stage is submitted again
            elif job is not None and (job in queue or (known is None and state != ELSEWHERE and self._current(id))):
                self.jobs[id] = job
                if state != BLOCKED:
                    self.board.set(id, QUEUED)
            elif known is not None and (state == WAITING or self._held_by(id, known.job)):
                self.failed(id, known)

    def settle(self, queue: Mapping[str, Queued], change: bool = True) -> None:
        """Take over arrays whose answer was lost, recognised by the mark that their jobs carry; afterwards `unsure`
        holds the stages that are still unconfirmed.

        An array that should be in the queue by now but is not was not taken. Without `change` nothing is written.
        """
        held: set[str] = set()
        for intent in self.open:
            if (intent.folder / NAME).exists():  # confirmed just now by the command that submitted it
                continue
            jobs = sorted((job for job, one in queue.items() if one.comment == intent.mark), key=_index)
            if jobs and change:
                self._take_up(intent, jobs[0].partition("_")[0])
            elif change and intent.unlikely(time.monotonic() - self.asked):
                self.journal.drop(intent)
            else:
                held.update(id for task in intent.tasks for id in task)
        for id in self.board.stages:
            if id in held and self.board.state[id] == WAITING:
                self.board.set(id, QUEUED)
            elif id in self.unsure - held and id not in self.jobs and self.board.state[id] == QUEUED:
                self.board.set(id, WAITING)
        self.unsure = held & set(self.board.stages)

    def _take_up(self, intent: Intent, array: str) -> None:
        """Register an array that Slurm has but whose answer was lost, like any other."""
        jobs = sbatch.ids(array, len(intent.tasks))
        root, code = str(self.board.root.resolve()), intent.about["code"]
        calls = [(Job(self.program), list(task), root, code) for task in intent.tasks]
        sbatch.hand_over(intent.folder, jobs, calls, intent.about["minutes"])
        self.journal.write(intent, jobs)

    def known(self, id: str) -> Optional[Failure]:
        """Return the failure of a stage's latest job; None if there is none."""
        last, job = failure.read(self.board.folders[id]), self.journal.latest.get(id)
        return None if last is None or (job is not None and last.job != job) else last

    def _held_by(self, id: str, job: Optional[str]) -> bool:
        """Whether this job holds the lock in a stage's folder."""
        lock = read_lock(self.board.folders[id].path)
        return lock is not None and lock.get("job") == job

    def _current(self, id: str) -> bool:
        """Whether a stage's latest job belongs to this folder, and not to one that was removed or pruned since."""
        folder = self.board.folders[id]
        notes = [folder.path / "identity.json", *([folder.path / pruned.NAME] if pruned.reopened(folder.path) else [])]
        made = max(note.stat().st_mtime for note in notes)
        return made <= self.journal.tasks[self.journal.latest[id]].noted + 1

    # Following --------------------------------------------------------------------------------------------------

    def follow(self, queue: Mapping[str, Queued]) -> None:
        """Update the board from the run folders and a listing of the queue, parents first."""
        gone: dict[str, str] = {}
        self.running = {id for id, job in self.jobs.items() if job in queue and queue[job].state != "PENDING"}
        for id in [id for id in self.board.stages if id in self.jobs]:
            job = self.jobs[id]
            if self.look(id):
                continue
            if job in queue:
                self.missed.pop(id, None)
                if queue[job].reason == controller.NEVER:
                    controller.cancel([job])
                elif queue[job].reason == controller.UNLAUNCHED:  # as if the node had failed
                    controller.cancel([job])
                    verdict = Failure(failure.NODE, f"job {job}: {controller.UNLAUNCHED}", job)
                    failure.write(self.board.folders[id], verdict)
                    self.failed(id, verdict)
            else:
                times, since = self.missed.get(id, (0, time.monotonic()))
                self.missed[id] = times + 1, since
                if times >= 1:  # a shared disk may show results late
                    gone[id] = job
        if gone:
            asked = {*gone.values(), *(self.journal.latest.get(one, "") for id in gone for one in self._parents(id))}
            states, booted = controller.ended(asked - {""}), controller.booted()
            inquest = Inquest(self.board, self.journal, self.jobs, queue, states, booted)
            for id in gone:
                self._left(id, inquest)
        self._end(queue)
        self._withdraw(queue)
        self._weigh(queue)

    def _end(self, queue: Mapping[str, Queued]) -> None:
        """Cancel requeued jobs all of whose stages were handled: they would start only to end at once."""
        over = set()
        for job in {*self.over.values()} & queue.keys():
            stages = self.journal.tasks[job].stages if job in self.journal.tasks else ("",)
            idle = all(one in self.board.stages and self.jobs.get(one) != job for one in stages)
            if idle and queue[job].state == "PENDING":
                over.add(job)
        controller.cancel(over)

    def look(self, id: str) -> bool:
        """Bring a submitted stage up to date with its folder; return whether it ended."""
        folder = self.board.folders[id]
        if folder.done:
            self.board.set(id, DONE)
        if self.board.state[id] in schedule.ENDED:
            return True
        known = failure.read(folder)
        if known is not None and known.job == self.jobs[id]:
            if known.kind == failure.WITHDRAWN and known.by == self.name:  # cancelled by another command of this sweep
                self.board.set(id, FAILED, str(known))
            elif known.why == failure.PRUNED and not self.board.supply(id):
                failure.write(folder, verdict := Failure(failure.EXCEPTION, failure.LACKING, known.job))
                self.failed(id, verdict)
            elif known.kind in failure.FORGIVEN:
                self.wait_again(id)
            else:
                self.failed(id, known)
            return True
        self.board.set(id, RUNNING if folder.holder() is not None else QUEUED)
        return False

    def _left(self, id: str, inquest: Inquest) -> None:
        """Handle a stage whose job is not in the queue, unless the job is still alive or its files may still appear."""
        folder, missed = self.board.folders[id], time.monotonic() - self.missed[id][1]
        if folder.path.is_dir():
            os.listdir(folder.path)  # makes a network file system refresh the folder
        if self.board.state[id] in schedule.ENDED or inquest.alive(id, missed) or self.look(id):
            return
        if self.board.state[id] == RUNNING:  # another process runs it and holds its lock
            return
        verdict = inquest.verdict(id, missed)
        if verdict is not None and verdict.kind == failure.AGAIN:
            self.wait_again(id)
        elif verdict is not None:
            failure.write(folder, verdict)
            self.failed(id, verdict)

    def failed(self, id: str, verdict: Failure) -> None:
        """Record a failure. A stage that failed through nobody's fault is submitted again; one that ran out of memory
        for the first time is submitted again with activation checkpointing.
        """
        folder, stage, last = self.board.folders[id], self.board.stages[id], failure.read(self.board.folders[id])
        failed = last.tries if last is not None else 0
        if verdict.kind == failure.MEMORY and stage.recomputes and not folder.spares_memory:
            folder.spare_memory(verdict.why)
            self.wait_again(id, f"{verdict}; trying again with activation checkpointing")
        elif failed < BLAMELESS.get(verdict.kind, 0):
            self.wait_again(id, f"{verdict}; trying again")
        else:
            if verdict.kind == failure.MEMORY:
                verdict = diagnosis.advice(verdict, stage.kind, tried=folder.spares_memory)
            self.board.set(id, FAILED, str(verdict))

    def wait_again(self, id: str, why: str = "") -> None:
        """Have a stage submitted again, by this command or by the next; also what it starts from, if that was
        removed.
        """
        job = self.over[id] = self.jobs.pop(id, None) or self.journal.latest.get(id, "")
        self.missed.pop(id, None)
        self.board.remake(id)
        failure.write(self.board.folders[id], Failure(failure.AGAIN, why, job))
        if self.board.state[id] not in schedule.ENDED:
            self.board.set(id, WAITING, why)

    def _parents(self, id: str) -> list[str]:
        return list(self.board.stages[id].awaits(self.board.stages))

    def _withdraw(self, queue: Mapping[str, Queued]) -> None:
        """Cancel the pending tasks of stages that can no longer run, or whose parents are to be submitted again."""
        orphans = set()
        for id, job in self.jobs.items():
            parents = [self.board.state[parent] for parent in self._parents(id)]
            if self.board.state[id] == BLOCKED or (self.board.state[id] == QUEUED and WAITING in parents):
                if job not in queue or queue[job].state == "PENDING":
                    if all(
                        one in self.board.stages for one in self.journal.tasks[job].stages
                    ):  # otherwise other sweeps want it too
                        orphans.add(job)
        controller.cancel(orphans & queue.keys())
        for id in [id for id, job in self.jobs.items() if job in orphans]:
            if self.board.state[id] == BLOCKED or self.board.state[id] not in schedule.ENDED:
                self.wait_again(id)

    def _weigh(self, queue: Mapping[str, Queued]) -> None:
        """Count why jobs wait; if only jobs that can never start are left, they count as failed."""
        open_ = {id: queue[job] for id, job in self.jobs.items() if job in queue and self.board.state[id] == QUEUED}
        pending = {id: one for id, one in open_.items() if one.state == "PENDING"}
        self.board.pending = schedule.counted(one.reason for one in pending.values())
        hopeless = {id: advice for id, one in pending.items() if (advice := reasons.hopeless(one.reason))}
        others = any(one.reason not in reasons.BEHIND for id, one in pending.items() if id not in hopeless)
        moving = len(open_) > len(pending) or self.board.count(RUNNING, ELSEWHERE) or self.unsure
        if not hopeless or moving or others:
            self.futile = None
            return
        self.futile = time.monotonic() if self.futile is None else self.futile
        if time.monotonic() - self.futile < FUTILE:
            return
        controller.cancel({self.jobs[id] for id in hopeless})
        for id, advice in hopeless.items():
            verdict = Failure(failure.NEVER, f"{pending[id].reason}: {advice}", self.jobs[id])
            failure.write(self.board.folders[id], verdict)
            self.failed(id, verdict)


def _index(job: str) -> int:
    """Index of a job in its array."""
    return int(job.partition("_")[2] or 0)
