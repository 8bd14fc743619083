"""Stages run after their parents, one failure stops nothing else, and any kill is survived; with fake stages."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fakes
import pytest

from ablate.clusters import debug, local, schedule
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import BLOCKED, DONE, ELSEWHERE, FAILED, RUNNING, Board
from ablate.errors import UserError
from ablate.store.record import run_path
from ablate.store.run import RunFolder

HERE = Path(__file__).resolve().parents[1]


def pooled(root, stages, workers=2, stop=lambda: 0):
    """Run stages in a local pool; return the board and the events in order."""
    board, events = Board(fakes.write(root, *stages), root), []
    pool = local.Local(board, "fakes", Resources({}, fakes.KINDS), fakes.PROGRAM, workers)
    pool.run(lambda board: (events.extend(board.events), board.events.clear()), stop)
    return board, events


def driver(root, cluster="local", workers=2):
    """Start a driver in a process of its own, in a session of its own as a terminal would."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
    return subprocess.Popen(
        [sys.executable, str(HERE / "fakes.py"), str(root), cluster, str(workers)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, seconds=30.0):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def step_of(root, id):
    path = RunFolder(root, "score", id).files / "checkpoint.json"
    return json.loads(path.read_text())["step"] if path.exists() else 0


# Order ----------------------------------------------------------------------------------------------------------


def test_parents_first_and_the_longest_way_first(tmp_path):
    s = fakes.stage
    stages = [s("aa"), s("b1", "aa", cost=1), s("b2", "aa", cost=2), s("c1", "b1", cost=9), s("dd", "c1", "b2")]
    board, events = pooled(tmp_path, stages, workers=1)
    assert [id for id, state in events if state == RUNNING] == ["aa", "b1", "c1", "b2", "dd"]
    assert board.count(DONE) == 5
    board, events = pooled(tmp_path, stages)
    assert board.found_done == 5 and events == []


def test_ranks_and_spans_by_hand():
    s = fakes.stage
    stages = {x.id: x for x in [s("a", cost=2), s("b", "a", cost=3), s("c", "a", cost=4), s("d", "b", cost=5)]}
    assert schedule.ranks(stages) == {"a": 10, "b": 8, "c": 4, "d": 5}

    def span(ids, workers, **left):
        """`left` are the seconds left of running stages."""
        ahead = schedule.Ahead({id: stages[id] for id in ids}, workers, schedule.ranks(stages), running=[*left])
        return ahead.span([left.get(id, stages[id].cost) for id in ahead.order])

    assert span("abcd", 1) == 14
    assert span("abcd", 2) == 10
    assert span("bcd", 2, b=1) == 6
    assert span("bcd", 1, b=1) == 10
    assert span("", 2) == 0
    alone = schedule.Ahead({"b": stages["b"], "c": stages["c"]}, 1, schedule.ranks(stages), elsewhere=["b"])
    assert alone.span([3, 4]) == 4  # the one that others run takes no worker


def test_children_may_be_listed_before_parents(tmp_path):
    s = fakes.stage
    assert list(Board({"b": s("b", "a"), "a": s("a")}, tmp_path).stages) == ["a", "b"]


# Failures -------------------------------------------------------------------------------------------------------


def test_a_failure_blocks_only_what_needs_it(tmp_path):
    s = fakes.stage
    root = tmp_path / "odd 'root\" name"
    board, _ = pooled(
        root, [s("aa"), s("b1", "aa", do="fail"), s("c1", "b1"), s("d1", "c1"), s("e1", "aa", do="die"), s("f1", "aa")]
    )
    states = {"aa": DONE, "b1": FAILED, "c1": BLOCKED, "d1": BLOCKED, "e1": FAILED, "f1": DONE}
    assert board.state == states
    assert board.why["b1"] == "raised an error" and "SIGKILL" in board.why["e1"]
    assert "a deliberate failure" in (board.folders["b1"].path / "logs" / "out.txt").read_text()
    again, _ = pooled(root, list(board.stages.values()))
    assert again.state == states and again.found_done == 2


def test_the_driver_shows_the_end_of_a_failed_log_at_once(tmp_path):
    fakes.write(tmp_path, fakes.stage("aa", do="fail"), fakes.stage("bb", steps=100))
    process = driver(tmp_path)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "FAILED" in said and "RuntimeError: a deliberate failure" in said and "aa/logs/out.txt" in said
    assert said.index("FAILED") < said.index("done    score stage bb")
    assert "of that core time" in said


def test_an_error_of_a_called_function_comes_back():
    with pytest.raises(UserError, match="no such thing"):
        local.call(fakes.PROGRAM.preload, _wrong, "no such thing")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        local.call(fakes.PROGRAM.preload, divmod, 1, 0)
    assert local.call(fakes.PROGRAM.preload, divmod, 7, 2) == (3, 1)
    with pytest.raises(UserError, match="died"):
        local.call(fakes.PROGRAM.preload, os._exit, 3)


def _wrong(text):
    raise UserError(text)


def test_debug_runs_in_this_process_and_goes_on_after_a_failure(tmp_path):
    s = fakes.stage
    board = Board(fakes.write(tmp_path, s("aa"), s("bb", do="fail"), s("cc", "bb"), s("dd", "aa")), tmp_path)
    debug.Debug(board, "fakes", Resources({}, fakes.KINDS), fakes.PROGRAM, 7).run(lambda _: None, lambda: 0)
    assert board.state == {"aa": DONE, "bb": FAILED, "cc": BLOCKED, "dd": DONE}


# Interruptions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path, cluster):
    fakes.write(tmp_path, fakes.stage("aa"), fakes.stage("bb", "aa", steps=150), fakes.stage("cc", "bb"))
    process = driver(tmp_path, cluster)
    wait_for(lambda: step_of(tmp_path, "bb") >= 10)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the driver and all its children
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130 and "Run the same command again" in said and "Traceback" not in said
    reached = step_of(tmp_path, "bb")
    assert 10 <= reached < 150 and not run_path(tmp_path, "score", "bb").joinpath("claim.json").exists()
    process = driver(tmp_path, cluster)
    process.communicate(timeout=60)
    assert process.returncode == 0
    lines = (RunFolder(tmp_path, "score", "bb").files / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 151))
    assert len((run_path(tmp_path, "score", "aa") / "attempts.jsonl").read_text().splitlines()) == 1


def test_a_second_ctrl_c_kills(tmp_path):
    fakes.write(tmp_path, fakes.stage("aa", do="deaf", steps=10_000))
    process = driver(tmp_path)
    wait_for(lambda: step_of(tmp_path, "aa") >= 3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.6)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130 and Board(fakes.read(tmp_path), tmp_path).folders["aa"].holder() is None


def test_kill_9_of_the_driver_stops_its_workers_and_the_next_takes_over(tmp_path):
    fakes.write(tmp_path, fakes.stage("aa"), fakes.stage("bb", "aa", steps=200), fakes.stage("cc", "aa", steps=200))
    process = driver(tmp_path)
    wait_for(lambda: step_of(tmp_path, "bb") >= 5 and step_of(tmp_path, "cc") >= 5)
    process.kill()
    process = driver(tmp_path)  # at once: the workers of the first still hold their locks
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    for id in ("bb", "cc"):
        lines = (RunFolder(tmp_path, "score", id).files / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == list(range(1, 201))
        attempts = (run_path(tmp_path, "score", id) / "attempts.jsonl").read_text().splitlines()
        assert [json.loads(line)["outcome"] for line in attempts] == ["stopped", "done"]


def test_two_drivers_run_each_stage_once(tmp_path):
    fakes.write(tmp_path, *(fakes.stage(f"a{i}", steps=15) for i in range(6)), fakes.stage("bb", "a0", "a5"))
    both = [driver(tmp_path), driver(tmp_path)]
    for process in both:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    for folder in Board(fakes.read(tmp_path), tmp_path).folders.values():
        outcomes = [json.loads(x)["outcome"] for x in (folder.path / "attempts.jsonl").read_text().splitlines()]
        assert outcomes == ["done"]


def test_a_worker_stopped_by_somebody_else_is_a_failure(tmp_path):
    stages = [fakes.stage("aa", steps=500)]

    def stop():
        lock = Board(dict(board_stages), tmp_path).folders["aa"].holder()
        if lock and lock["step"] and not told:  # once: a second signal would end it after it has given up its handlers
            told.append(os.kill(lock["pid"], signal.SIGTERM))
        return 0

    board_stages, told = {x.id: x for x in stages}, []
    board, _ = pooled(tmp_path, stages, stop=stop)
    assert board.state["aa"] == FAILED and "somebody else" in board.why["aa"]


def test_a_stage_that_runs_elsewhere_is_followed(tmp_path):
    board = Board(fakes.write(tmp_path, fakes.stage("aa"), fakes.stage("bb", "aa")), tmp_path)
    with board.folders["aa"].lock() as run:
        board.set("aa", ELSEWHERE)
        board.look()
        assert board.state["aa"] == ELSEWHERE and board.ready() == []
        run.finish({})
    board.look()
    assert board.state["aa"] == DONE and board.ready() == ["bb"]
