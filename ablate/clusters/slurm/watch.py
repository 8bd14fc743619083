"""Commands about a sweep on Slurm: watch it, leave it to a collector job, say how it stands, run failures again,
cancel.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from ablate.clusters import failure
from ablate.clusters.failure import Failure
from ablate.clusters.schedule import BLOCKED, FAILED, QUEUED, RUNNING, WAITING, Board
from ablate.clusters.slurm import controller, diagnosis
from ablate.clusters.slurm.job import Collector
from ablate.clusters.slurm.submit import Jobs

FEW = 300  # up to so many jobs are looked at every second, of more only those that run


def run_slurm(board: Board, jobs: Jobs, show: Callable[[Board], None], stop: Callable[[], int], poll: float) -> None:
    """Submit, then follow until all stages ended or the user has seen enough; the jobs themselves go on.

    `poll` is the time in seconds between two looks at the queue; results are seen within a second or two.
    """
    looked = -poll
    while not stop():
        if time.monotonic() - looked >= poll:
            looked = time.monotonic()
            queue = controller.queue()
            jobs.adopt(queue)
            jobs.follow(queue)
            board.look()
            jobs.submit(queue)
        open_ = [id for id in jobs.jobs if board.state[id] in (QUEUED, RUNNING)]
        for id in open_ if len(open_) <= FEW else jobs.running.intersection(open_):
            jobs.look(id)
        show(board)
        if board.ended:
            return
        time.sleep(min(1.0, poll))


def detach(board: Board, jobs: Jobs, show: Callable[[Board], None], poll: float, collect: Collector) -> bool:
    """Deal with what ended, submit what can be, and leave a job that does so again; whether jobs are under way.

    False means that all stages ended, or that Slurm takes nothing for now.
    """
    queue = controller.queue()
    jobs.adopt(queue)
    jobs.follow(queue)
    while any(jobs.missed.get(id) == 1 for id in jobs.jobs if board.state[id] in (QUEUED, RUNNING)):
        time.sleep(min(10.0, poll))
        queue = controller.queue()
        jobs.follow(queue)
    for _ in range(6):
        jobs.submit(queue, collect)
        if jobs.refused != "busy":
            break
        time.sleep(max(0.0, jobs.not_before - time.monotonic()))
    show(board)
    return board.count(QUEUED, RUNNING) > 0


def status(board: Board, jobs: Jobs) -> None:
    """Bring a board up to date without changing anything on disk or in the queue."""
    queue = controller.queue()
    jobs.journal.read()
    gone = {}
    for id in board.stages:
        job, known = jobs.journal.latest.get(id), jobs.known(id)
        if board.state[id] != WAITING:
            continue
        if job in queue:
            board.set(id, QUEUED)
        elif known is not None:
            board.set(id, WAITING if known.kind in failure.FORGIVEN else FAILED, str(known))
        elif job is not None:
            gone[id] = job
    states = controller.ended(gone.values()) if gone else {}
    for id, job in gone.items():
        if board.state[id] != BLOCKED:
            board.set(
                id, FAILED, str(diagnosis.of_job(board.folders[id], job, states.get(job), jobs.journal.tasks[job].log))
            )


def retry(board: Board, jobs: Jobs) -> int:
    """Forget why stages without a job failed, and that memory was short; how many there were."""
    queue = controller.queue()
    jobs.journal.read()
    forgiven = 0
    for id, folder in board.folders.items():
        job, known = jobs.journal.latest.get(id), jobs.known(id)
        if board.state[id] == WAITING and job not in queue and (job is not None or known is not None):
            forgiven += known is None or known.kind not in failure.FORGIVEN
            failure.write(folder, Failure(failure.AGAIN, "", job))
            (folder.path / "spare_memory.json").unlink(missing_ok=True)
    return forgiven


def cancel(board: Board, jobs: Jobs, whole: bool) -> int:
    """Cancel the jobs of this sweep; unless `whole`, only those of the stages on the board. Returns how many there
    were.
    """
    queue = controller.queue()
    jobs.journal.read()
    mine = {}
    for job, task in jobs.journal.tasks.items():
        if job in queue and task.sweep == jobs.name and (whole or set(task.stages) <= set(board.stages)):
            mine[job] = task
    for job, task in mine.items():
        for id in task.stages:
            if id in board.folders and not board.folders[id].done:
                failure.write(board.folders[id], Failure(failure.WITHDRAWN, f"job {job}", job))
    collectors = [job for job, one in queue.items() if whole and one.name == jobs.collects]
    controller.cancel([*mine, *collectors])
    return len(mine)


def parting(board: Board, jobs: Jobs, detached: bool) -> str:
    """Say what goes on without this command, and how to come back."""
    queued, waiting = board.count(QUEUED, RUNNING), board.count(WAITING)
    if detached and not queued:
        return (
            "Nothing can be submitted now: Slurm takes no more jobs of yours, or others run what is missing. "
            "Try again later."
        )
    text = f"{queued} stay in the queue" + (f", {waiting} wait for room there" if waiting else "") + ". "
    text += (
        f"A job called {jobs.collects} goes on from there and writes the report."
        if detached
        else "Nothing more is submitted."
    )
    return (
        f"{text}\nThe same command watches again; --detach leaves all to a job, --status says how it stands, "
        "--cancel ends it."
    )
