"""What becomes of stages whose jobs left the queue, with a Slurm that says what a test has it say."""

import json
import os
import time

import fakes
import pytest

from ablate.clusters import failure
from ablate.clusters.failure import Failure
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import BLOCKED, DONE, ELSEWHERE, FAILED, QUEUED, WAITING, Board
from ablate.clusters.slurm import controller, jobs
from ablate.clusters.slurm.controller import Queued
from ablate.clusters.slurm.gone import LATE, RUNAWAY
from ablate.clusters.slurm.jobs import Jobs
from ablate.store import pruned
from ablate.store.lock import me
from ablate.store.run import RunFolder


class World:
    """A sweep of `parent` (job 1) and `child` (job 2, which waits for it), and what Slurm says of their jobs."""

    def __init__(self, root, monkeypatch):
        self.root, self.queue, self.states, self.cancelled = root, {}, {}, set()
        self.booted, self.now = 0.0, 1000.0
        monkeypatch.setattr(jobs.shutil, "which", lambda command: command)
        monkeypatch.setattr(jobs.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(controller, "limits", lambda: ("here", 100))
        monkeypatch.setattr(controller, "queue", lambda: dict(self.queue))
        monkeypatch.setattr(controller, "ended", lambda asked: {k: v for k, v in self.states.items() if k in asked})
        monkeypatch.setattr(controller, "booted", lambda: self.booted)
        monkeypatch.setattr(controller, "cancel", lambda gone: self.cancelled.update(gone))
        stages = fakes.write(root, fakes.stage("parent"), fakes.stage("child", "parent"))
        self.board = Board(stages, root)
        self.jobs = Jobs(self.board, "sweep", Resources({}, fakes.KINDS), fakes.PROGRAM)
        for id, job in (("parent", "1"), ("child", "2")):
            self.submit(id, job)
        self.queue = {"1": self.queued("RUNNING"), "2": self.queued("PENDING", "Dependency")}
        self.look()
        assert self.board.state == {"parent": QUEUED, "child": QUEUED}

    def submit(self, id, job):
        journal = self.jobs.journal
        journal.write(journal.intend(journal.fresh("x"), [[id]], "sweep", {"throttle": 1}), [job])

    def queued(self, state, reason="None", submitted=0.0):
        return Queued(state, reason, submitted, "", "sweep.score")

    def look(self, times=1, seconds=1.0):
        """Look so many times, so many seconds apart; the states then."""
        for _ in range(times):
            self.now += seconds
            queue = self.jobs.queue()
            self.jobs.adopt(queue)
            self.jobs.follow(queue)
        return self.board.state["parent"], self.board.state["child"]

    def folder(self, id):
        return RunFolder(self.root, "score", id)

    def began(self, id, job, outcome="lost"):
        """Note that the job once worked on a stage."""
        with open(self.folder(id).path / "attempts.jsonl", "a") as file:
            file.write(json.dumps({"job": job, "outcome": outcome}) + "\n")

    def finish(self, id):
        with self.folder(id).lock() as run:
            run.finish({"final": {}})


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def test_a_pending_job_that_the_user_cancelled_has_failed(world):
    del world.queue["2"]
    world.states = {"1": "RUNNING", "2": "CANCELLED"}
    assert world.look(times=2) == (QUEUED, FAILED)
    assert failure.read(world.folder("child")).kind == failure.CANCELLED_PENDING


def test_a_child_that_slurm_cancelled_as_it_put_the_parent_back_is_wanted_again(world):
    """Its parent lost its node, and waits again under its own job, submitted later than the child."""
    del world.queue["2"]
    world.began("parent", "1")
    world.queue["1"] = world.queued("PENDING", "BeginTime", time.time() + 60)
    world.states = {"2": "CANCELLED"}
    assert world.look(times=2) == (QUEUED, WAITING)


def test_a_child_whose_parent_was_done_after_all_is_wanted_again(world):
    """The parent's job was killed in its last second."""
    world.queue = {}
    world.finish("parent")
    world.states = {"1": "FAILED", "2": "CANCELLED"}
    assert world.look(times=2) == (DONE, WAITING)


def test_a_child_goes_with_a_parent_that_has_failed_and_comes_back_with_one_that_is_run_again(world):
    """Failures are counted, not submissions; and the child is no failure of its own."""
    world.jobs.journal.times["parent"] = 20
    world.queue = {}
    world.states = {"1": "NODE_FAIL", "2": "CANCELLED"}
    world.began("parent", "1")
    assert world.look(times=2) == (WAITING, WAITING)
    for job in ("3", "4"):  # three times at most
        world.submit("parent", job)
        world.queue[job] = world.queued("RUNNING")
        world.look()
        world.queue = {}
        world.states[job] = "NODE_FAIL"
        world.began("parent", job)
        states = world.look(times=2)
    assert states == (FAILED, BLOCKED)
    assert failure.read(world.folder("parent")).kind == failure.NODE


def test_the_failure_of_a_job_that_left_its_lock_is_known_at_once(world):
    """Its process died on another host, whose lock says nothing of that for minutes."""
    world.queue = {}
    run = world.folder("parent")
    (run.path / "claim.json").write_text(
        json.dumps({**me(), "host": "n9", "space": "other", "job": "1", "token": "0" * 12, "began": time.time()})
    )
    world.states = {"1": "FAILED", "2": "CANCELLED"}
    board = Board(world.board.stages, world.root)
    board.follow_others()
    assert board.state["parent"] == ELSEWHERE
    failure.write(run, Failure(failure.EXCEPTION, "ValueError: no", "1"))
    world.board = board
    world.jobs = Jobs(board, "sweep", Resources({}, fakes.KINDS), fakes.PROGRAM)
    assert world.look(times=2) == (FAILED, BLOCKED)


def test_jobs_that_a_controller_forgot_when_it_crashed_are_submitted_again(world):
    world.queue, world.booted = {}, time.time() + 60
    assert world.look(times=2) == (WAITING, WAITING)
    for job in ("3", "4"):  # three times at most
        world.submit("parent", job)
        world.queue = {job: world.queued("PENDING")}
        world.look()
        world.queue = {}
        states = world.look(times=2)
    assert states == (FAILED, BLOCKED)
    assert "controller that was started" in failure.read(world.folder("parent")).why


def test_a_controller_that_was_started_before_forgot_nothing(world):
    world.booted = time.time() - 60
    del world.queue["2"]
    assert world.look(times=2)[1] == FAILED


def test_files_may_come_late_but_not_for_ever(world):
    del world.queue["1"]
    world.states = {"1": "COMPLETED"}
    world.began("parent", "1")
    assert world.look(times=3)[0] == QUEUED
    assert world.look(seconds=LATE)[0] == FAILED


def test_a_job_that_only_accounting_calls_alive_is_over_in_the_end(world):
    """A database that was not told of its end calls it running for ever."""
    del world.queue["1"]
    world.states = {"1": "RUNNING"}
    assert world.look(times=9, seconds=60)[0] == QUEUED
    assert world.look(seconds=RUNAWAY)[0] == FAILED


def test_a_stage_that_is_made_again_since_it_was_pruned_is_not_what_its_last_job_left(world):
    world.finish("parent")
    world.began("parent", "1", "done")
    del world.queue["1"]
    world.states = {"1": "COMPLETED"}
    assert world.look()[0] == DONE
    pruned.write(world.folder("parent").path, {"model.safetensors": 1})
    pruned.reopen(world.folder("parent").path)
    note = world.folder("parent").path / pruned.NAME
    os.utime(note, (time.time() + 60,) * 2)  # later than the job
    world.board = Board(fakes.read(world.root), world.root)
    world.jobs = Jobs(world.board, "sweep", Resources({}, fakes.KINDS), fakes.PROGRAM)
    assert world.look(times=3, seconds=100)[0] == WAITING


def test_a_stage_that_reads_what_no_stage_of_the_plan_makes_again_fails_the_second_time(world):
    failure.write(world.folder("parent"), Failure(failure.AGAIN, failure.PRUNED, "1"))
    assert world.look()[0] == WAITING
    world.submit("parent", "3")
    world.queue["3"] = world.queued("RUNNING")
    assert world.look()[0] == QUEUED
    failure.write(world.folder("parent"), Failure(failure.AGAIN, failure.PRUNED, "3"))
    assert world.look()[0] == FAILED
    assert failure.read(world.folder("parent")).why == failure.LACKING
