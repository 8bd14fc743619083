"""Commands about a sweep on Slurm: watch it, leave it to a collector job, show its state, run failures again, cancel.

While Slurm does not answer they wait, without limit, and say so once a minute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from ablate.clusters import failure, schedule
from ablate.clusters.failure import Failure
from ablate.clusters.schedule import BLOCKED, FAILED, QUEUED, RUNNING, STOPPED, WAITING, Board
from ablate.clusters.slurm import controller, diagnosis
from ablate.clusters.slurm.controller import Outage, Queued, Silent
from ablate.clusters.slurm.job import COLLECTED, Collector
from ablate.clusters.slurm.jobs import Jobs
from ablate.clusters.slurm.submit import Submission
from ablate.store.record import read_json, sweep_path
from ablate.store.run import find

FEW = 300  # up to this many jobs are all checked every second; of more, only the running ones
Show = Callable[[Board], None]
Stop = Callable[[], int]


class Watch:
    """Submits waiting stages and follows the jobs, which run on their own; `poll` is the time in seconds between two
    looks at the queue. Results are seen within a second or two.
    """

    def __init__(self, board: Board, jobs: Jobs, poll: float) -> None:
        self.board, self.jobs, self.poll = board, jobs, poll
        self.submission, self.cancelled = Submission(jobs), withdrawn(jobs)
        self.looked, self.outage = -poll, Outage()

    def submit(self) -> None:
        """Look at the queue when `poll` has passed, and submit."""
        if time.monotonic() - self.looked < self.poll:
            return
        self.looked = time.monotonic()
        try:
            self._look()
            self.outage.over()
        except Silent as why:
            self.outage.tell(why)

    def _look(self) -> None:
        """Bring the board up to date with the queue, and submit what waits; nothing once the sweep was cancelled."""
        with self.jobs.journal.alone() as alone:  # otherwise what another command submits now would be submitted twice
            queue = self.jobs.queue()
            self.jobs.adopt(queue)
            self.jobs.follow(queue)
            self.board.look()
            if withdrawn(self.jobs) != self.cancelled:
                print("This sweep was cancelled by another command.", file=sys.stderr, flush=True)
                _stop_all(self.board)
            elif alone:
                self.submission.submit(queue)

    def follow(self) -> None:
        """Wait for a second, and update from the run folders what runs and what ended."""
        if not self.board.ended:
            time.sleep(min(1.0, self.poll))
        open_ = [id for id in self.jobs.jobs if self.board.state[id] in (QUEUED, RUNNING)]
        for id in open_ if len(open_) <= FEW else self.jobs.running.intersection(open_):
            self.jobs.look(id)


def withdrawn(jobs: Jobs) -> float:
    """When this sweep was last cancelled as a whole, by the clock of the file system; 0 if never."""
    note = jobs.journal.folder / f".{jobs.name}.cancelled"
    return note.stat().st_mtime if note.exists() else 0.0


def _stop_all(board: Board) -> None:
    for id, state in board.state.items():
        if state not in schedule.ENDED:
            board.set(id, STOPPED)


def detach(board: Board, jobs: Jobs, show: Show, stop: Stop, poll: float, collect: Collector) -> bool:
    """Handle what ended, submit what can be, and leave a job that does so again; return whether jobs are under way.

    False means that all stages ended, or that Slurm takes nothing for now.
    """
    submission = Submission(jobs)

    def once() -> bool:
        with jobs.journal.alone() as alone:
            queue = jobs.queue()
            jobs.adopt(queue)
            jobs.follow(queue)
            if jobs.unsure or any(board.state[id] in (QUEUED, RUNNING) for id in jobs.missed if id in jobs.jobs):
                return False  # it is still unknown whether Slurm has some arrays
            if alone:
                submission.submit(queue, collect)
            return alone

    while not controller.patiently(once):
        show(board)
        end = time.monotonic() + min(10.0, poll)
        while time.monotonic() < end:
            if stop():
                raise KeyboardInterrupt
            time.sleep(0.2)
    show(board)
    return board.count(QUEUED, RUNNING) > 0


def status(board: Board, jobs: Jobs) -> None:
    """Bring a board up to date without changing anything on disk or in the queue."""
    queue = controller.patiently(jobs.queue)
    jobs.settle(queue, change=False)
    gone = {}
    for id in board.stages:
        job, known = jobs.journal.latest.get(id), jobs.known(id)
        if board.state[id] != WAITING:
            continue
        if known is not None:
            board.set(id, WAITING if known.kind in failure.FORGIVEN else FAILED, str(known))
        elif job in queue:
            board.set(id, QUEUED)
        elif job is not None:
            gone[id] = job
    states = controller.patiently(lambda: controller.ended(gone.values())) if gone else {}
    for id, job in gone.items():
        if board.state[id] != BLOCKED and states.get(job) != "COMPLETED":  # otherwise its files may come late
            board.set(
                id, FAILED, str(diagnosis.of_job(board.folders[id], job, states.get(job), jobs.journal.tasks[job].log))
            )
    board.pending = schedule.counted(queue[job].reason for job in mine(jobs, queue) if queue[job].state == "PENDING")
    board.remarks += _collecting(jobs, queue)


def mine(jobs: Jobs, queue: Mapping[str, Queued]) -> set[str]:
    """Jobs in the queue that are the latest of a stage of the board."""
    return {job for id in jobs.board.stages if (job := jobs.journal.latest.get(id)) in queue}


def _collecting(jobs: Jobs, queue: Mapping[str, Queued]) -> list[str]:
    """Say whether the latest collector of this sweep waits, runs, or failed; nothing if it ended well."""
    if there := jobs.collectors.there(queue):
        return [f"A collector, job {job}, is {queue[job].state.lower()} ({queue[job].reason})." for job in there]
    left = [task for task in jobs.journal.tasks.values() if not task.stages and task.sweep == jobs.name]
    if not left:
        return []
    last = max(left, key=lambda task: task.noted)
    note, report = last.folder / COLLECTED, sweep_path(jobs.board.root, jobs.name) / "summary.txt"
    if note.exists() and report.exists() and report.stat().st_mtime > note.stat().st_mtime:
        return []  # another process has made the report since
    why = read_json(note)["why"] if note.exists() else "it ended without a message"
    return [f"The collector, job {last.job}, failed: {why}; {last.log}"] if why else []


def retry(board: Board, jobs: Jobs) -> int:
    """Forget failures of stages without a job, and that memory ran out; return how many there were."""
    queue = controller.patiently(jobs.queue)
    forgiven = 0
    for id, folder in board.folders.items():
        job, known = jobs.journal.latest.get(id), jobs.known(id)
        if board.state[id] == WAITING and job not in queue and (job is not None or known is not None):
            forgiven += known is None or known.kind not in failure.FORGIVEN
            failure.write(folder, Failure(failure.AGAIN, "", job), forget=True)
            (folder.path / "spare_memory.json").unlink(missing_ok=True)
    return forgiven


def cancel(board: Board, jobs: Jobs, whole: bool) -> int:
    """Cancel the jobs of this sweep or, unless `whole`, only those of the stages on the board. Jobs that another
    sweep's jobs wait for stay. Returns the number of cancelled jobs.
    """

    def once() -> int:
        if whole:
            jobs.journal.folder.mkdir(parents=True, exist_ok=True)
            (jobs.journal.folder / f".{jobs.name}.cancelled").touch()
        queue = jobs.queue()
        jobs.settle(queue)
        there = {job: task for job, task in jobs.journal.tasks.items() if job in queue and task.stages}
        own = {
            job: task
            for job, task in there.items()
            if task.sweep == jobs.name and (whole or {*task.stages} <= board.stages.keys())
        }
        wanted = _with_ancestors(jobs, [id for job in there.keys() - own.keys() for id in there[job].stages])
        own = {job: task for job, task in own.items() if not wanted & {*task.stages}}
        for job, task in own.items():
            for id in task.stages:
                folder = board.folders.get(id) or find(board.root, id)
                if folder is not None and not folder.done:
                    failure.write(folder, Failure(failure.WITHDRAWN, f"job {job}", job, by=jobs.name))
        controller.cancel([*own, *(jobs.collectors.there(queue) if whole else ())])
        return len(own)

    return controller.patiently(once)


def _with_ancestors(jobs: Jobs, ids: list[str]) -> set[str]:
    """These stages and everything they start from."""
    found: set[str] = set()
    while ids:
        id = ids.pop()
        run = find(jobs.board.root, id) if id not in found else None
        found.add(id)
        ids += [parent for _, parent in run.identity()["parents"]] if run is not None else []
    return found


def parting(board: Board, jobs: Jobs, detached: bool) -> str:
    """Say what continues without this command, and how to come back."""
    queued, waiting = board.count(QUEUED, RUNNING), board.count(WAITING)
    if detached and not queued:
        return (
            "Nothing can be submitted now: Slurm takes no more jobs of yours, or others run the missing stages. "
            "Try again later."
        )
    text = f"{queued} stay in the queue" + (f", {waiting} wait until there is room in it" if waiting else "") + ". "
    text += (
        f"A job called {jobs.collectors.name} continues from there and writes the report."
        if detached
        else "Waiting stages are not submitted until the command runs again."
    )
    return (
        f"{text}\nRun the same command again to watch; --detach leaves everything to a job, --status shows the current "
        "state, --cancel ends the sweep."
    )
