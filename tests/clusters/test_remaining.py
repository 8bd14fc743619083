"""The time left: one estimate for all lines, this run's paces first; held against made-up runs on a simulated clock."""

import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import fakes
import pytest
from clusters.simulated import Folder, compared

from ablate.clusters import display, remaining, schedule
from ablate.clusters.remaining import Left, Remaining, Span
from ablate.clusters.schedule import BLOCKED, DONE, ELSEWHERE, FAILED, QUEUED, RUNNING, STOPPED, WAITING, Board
from ablate.store import continuing
from ablate.store.record import run_path
from ablate.store.run import RunFolder
from ablate.store.stage import Stage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(*stages: Stage) -> tuple[Board, Clock]:
    """A board of stages without folders, and its clock."""
    clock = Clock()
    board = Board({one.id: one for one in stages}, Path("/nowhere"), clock)
    board.folders = {one.id: Folder() for one in stages}
    return board, clock


def stage(id: str, *parents: str, cost: float = 60.0, **more) -> Stage:
    return Stage("finetune", {}, tuple((p, p) for p in parents), id, steps=100, cost=cost, alike=("finetune",), **more)


def at(board: Board, id: str, step: int, spent: float, **more) -> None:
    board.folders[id].lock = {"step": step, "steps": 100, "spent": spent, "made": 0.0, "seen": 0.0, **more}


# What follows from what -----------------------------------------------------------------------------------------------


def test_what_ended_tells_of_its_like_by_hand():
    """Two stages of a group; one took twice its cost: of the log, the shares that both have in common."""
    board, clock = made(stage("a"), stage("b"))
    found = Remaining(board, 2)
    board.set("a", RUNNING)
    clock.now = 120.0
    board.set("a", DONE)
    machine, group, own = remaining.MACHINE**2, remaining.GROUPS[0] ** 2, remaining.STAGE**2
    error = 1e-4 + (remaining.ENDED_SECONDS / 60) ** 2
    expected = math.log(2) * (machine + group) / (machine + group + own + error)
    draws = found._believed({"b": board.stages["b"]}, {})["b"]
    assert fmean(draws) == pytest.approx(expected, rel=1e-6)
    clock.now += remaining.FRESH  # measured long ago, it counts half
    later = fmean(found._believed({"b": board.stages["b"]}, {})["b"])
    assert later == pytest.approx(math.log(2) * (machine + group) / (machine + group + own + 2 * error), rel=1e-6)


def test_a_measured_cost_is_trusted_more():
    spans = []
    for doubt in (1.0, 0.4):
        board, _ = made(*(stage(f"s{n}", doubt=doubt) for n in range(4)))
        found = Remaining(board, 1)
        at_machine = replace(board.stages["s0"], id="known")
        assert at_machine.doubt == doubt
        spans.append(found.estimate().all)
    wide, narrow = (span.high / span.low for span in spans)
    assert narrow < wide


def test_lines_never_contradict_each_other():
    """The last stage was planned to take three minutes, and will have taken a hundred seconds: ten are left of both."""
    board, clock = made(stage("a", cost=180.0), stage("b", "a", cost=180.0))
    board.set("a", DONE)
    board.set("b", RUNNING)
    clock.now = 90.0
    at(board, "b", 90, 90.0)
    left = Remaining(board, 2).estimate()
    assert left.all == left.stages["b"]
    assert 7 < left.all.low < left.all.likely < left.all.high < 14
    said = display.between(left.all)
    assert display.describe(board, "b", left) == f"finetune , 90/100, ends in {said}"
    assert display.left_text(left) == f"{said} left"
    assert display.estimate(2, left).startswith(f"{said} left on 2 workers ({said} of work), done ")


def test_no_stage_outlasts_the_whole():
    board, clock = made(*(stage(f"s{n}", cost=20.0 + 10 * n) for n in range(5)))
    found = Remaining(board, 3)
    for n in range(3):
        board.set(f"s{n}", RUNNING)
    for clock.now in (1.0, 10.0, 30.0):
        at(board, "s0", int(clock.now), clock.now)
        left = found.estimate()
        assert left.stages.keys() == {"s0", "s1", "s2"}
        for one in left.stages.values():
            assert one.low <= left.all.low and one.likely <= left.all.likely and one.high <= left.all.high


def test_the_critical_path_counts_beside_the_work():
    """One long stage and many short ones, four workers: the long one decides."""
    board, _ = made(stage("long", cost=1000.0), *(stage(f"s{n}", cost=10.0) for n in range(20)))
    left = Remaining(board, 4).estimate()
    assert left.work.likely == pytest.approx(1200, rel=0.25)
    assert left.all.likely == pytest.approx(1000, rel=0.25)
    assert left.all.low < 1000 < left.all.high


def test_without_progress_a_stage_lasts_longer_the_longer_it_lasts():
    board, clock = made(stage("a", cost=10.0))
    found = Remaining(board, 1)
    board.set("a", RUNNING)
    ends = []
    for clock.now in (1.0, 10.0, 100.0, 1000.0):
        left = found.estimate().all
        assert 0 <= left.low <= left.likely <= left.high
        ends.append(clock.now + left.likely)
    assert ends == sorted(ends) and ends[-1] > 1000


@pytest.mark.parametrize(("step", "steps"), [(0, 0), (5, 0), (5, 5), (7, 5)])
def test_odd_progress_does_no_harm(step, steps):
    """As stages of other packages may report it."""
    board, clock = made(stage("a"))
    board.set("a", RUNNING)
    clock.now = 20.0
    at(board, "a", step, 10.0, steps=steps)
    left = Remaining(board, 1).estimate().all
    assert 0 <= left.low <= left.likely <= left.high < 1000


def test_a_failed_stage_is_no_work_and_one_that_is_tried_again_is():
    board, clock = made(stage("a"), stage("b", "a"), stage("c"))
    found = Remaining(board, 1)
    three = found.estimate().work.likely
    board.set("c", RUNNING)
    clock.now = 50.0
    at(board, "c", 80, 50.0)
    board.set("c", WAITING, "the node failed; trying again")
    board.folders["c"].lock = None
    assert found.estimate().work.likely == pytest.approx(three)
    board.set("a", FAILED, "why")
    assert board.state["b"] == BLOCKED
    assert found.estimate().work.likely == pytest.approx(three / 3, rel=0.2)


def test_nothing_is_left_of_what_is_done():
    board, _ = made(stage("a"))
    board.set("a", DONE)
    assert Remaining(board, 1).estimate() == Left(Span(0, 0, 0), Span(0, 0, 0))


# Where a stage begins -------------------------------------------------------------------------------------------------


def test_a_resumed_stage_is_measured_by_what_it_has_to_do():
    """From step 80 it made 10 steps in 30 s: 30 s are left, and its like need 300 s."""
    board, clock = made(stage("a"), stage("b"))
    found = Remaining(board, 1)
    board.set("a", RUNNING)
    clock.now = 30.0
    at(board, "a", 90, 30.0, first=80)
    left = found.estimate()
    assert left.stages["a"].likely == pytest.approx(30.0, rel=0.15)
    assert left.work.likely - left.stages["a"].likely == pytest.approx(300.0, rel=0.35)


def test_checkpoints_and_shorter_trunks_shorten_what_waits(tmp_path):
    config = {"phase": "trunk", "horizon": None, "start": 0, "steps": 100}
    long = Stage("pretrain", config, (), "0a" * 8, steps=100, cost=100.0)
    short = replace(long, id="0b" * 8, steps=40, config={**config, "steps": 40})
    assert continuing.begun(long, tmp_path) == 0
    folder = run_path(tmp_path, "pretrain", short.id)
    folder.mkdir(parents=True)
    (folder / "identity.json").write_text(json.dumps(short.identity))
    (folder / "result.json").write_text(json.dumps({"format": 2, "attempt": "", "files": {}}))
    continuing.note(RunFolder(tmp_path, "pretrain", short.id), 40)
    assert continuing.begun(long, tmp_path) == 40
    attempt = run_path(tmp_path, "pretrain", long.id) / ("c" * 12)
    attempt.mkdir(parents=True)
    (attempt / "checkpoint.json").write_text(json.dumps({"step": 75, "files": {}}))
    assert continuing.begun(long, tmp_path) == 75
    assert Remaining(Board({long.id: long}, tmp_path), 1)._cost(long.id) == pytest.approx(25.0)
    planned = replace(long, cost=60.0, uses=((continuing.ROLE, short.id),))  # the plan left the shorter one's out
    assert continuing.spared(planned, {short.id: short}) == 40
    both = Board({long.id: planned, short.id: short}, tmp_path)
    assert Remaining(both, 1)._cost(long.id) == pytest.approx(25.0)


def test_a_suspended_machine_ages_nothing(tmp_path):
    """Times of day jump by eight hours while the machine sleeps; what measures here stands still."""
    board, clock = made(stage("a"), stage("b"))
    found = Remaining(board, 1)
    board.set("a", RUNNING)
    clock.now = 30.0
    at(board, "a", 50, 30.0, seen=8 * 3600.0)
    assert found.estimate().stages["a"].likely == pytest.approx(30.0, rel=0.15)
    board.set("a", DONE)
    assert board.took["a"] == (30.0, 30.0)


def test_what_others_run_takes_no_worker_and_tells_its_pace():
    board, _ = made(stage("a"), stage("b"))
    board.set("a", ELSEWHERE)
    at(board, "a", 50, 60.0, seen=60.0)
    found = Remaining(board, 1)
    looking = found.estimate()  # who runs the one will run the other
    assert looking.stages["a"].likely == pytest.approx(60.0, rel=0.15)
    assert looking.all.likely == pytest.approx(180.0, rel=0.35)
    board.set("b", RUNNING)
    working = found.estimate()
    assert working.all.likely == pytest.approx(120.0, rel=0.35)


def test_a_process_reports_how_long_it_has_worked(tmp_path):
    fakes.write(tmp_path, fakes.stage("aa"))
    run = RunFolder(tmp_path, "score", "aa")
    with run.lock():
        run.progress(3, 10, first=2, unit="items")
        lock = run.holder()
    assert (lock["step"], lock["first"], lock["unit"]) == (3, 2, "items") and 0 < lock["spent"] < 60


# How it is said -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0, 0, "at most 0 s"),
        (0.4, 4.2, "at most 5 s"),
        (41, 69.2, "41 to 70 s"),
        (50, 100, "50 s to 2 min"),
        (185, 290, "3 to 5 min"),
        (6600, 8300, "1.8 to 2.4 h"),
        (40_000, 90_000, "11 to 25 h"),
        (300_000, 500_000, "3 to 6 days"),
    ],
)
def test_ranges_are_short_and_rounded_outwards(low, high, said):
    assert display.between(Span(low, (low + high) / 2, high)) == said


def test_time_in_a_queue_is_said_to_be_unknown():
    board, _ = made(stage("a"), stage("b"))
    found = Remaining(board, 64, queues=True)
    assert display.left_text(found.estimate()).endswith(" left, queueing not counted")
    assert "is not known" in display.estimate(64, found.estimate())
    for id in "ab":
        board.set(id, QUEUED)
        board.set(id, RUNNING)
    assert display.left_text(found.estimate()).endswith(" left")


def test_what_was_stopped_is_still_to_be_done_and_what_is_done_has_no_time_left(capsys):
    """The same command goes on with a stopped stage; a failed one is not made."""
    board, clock = made(stage("a"), stage("b", cost=600.0), stage("c", "b"))
    with display.Display(Remaining(board, 1)) as shown:
        for id in "ab":
            board.set(id, RUNNING)
        clock.now = 60.0
        board.set("a", DONE)
        before = Remaining(board, 1).estimate().all
        board.set("b", STOPPED)
        assert Remaining(board, 1).estimate().all.likely == pytest.approx(before.likely, rel=0.3)
        shown.left, board.events = shown.remaining.estimate(), []
        shown._line("stopped", "b", board)
        assert capsys.readouterr().out.rstrip().endswith(f"[1/3 done, {display.left_text(shown.left)}]")
        board.set("b", DONE)
        board.set("c", FAILED)
        shown._line("FAILED", "c", board)
        assert capsys.readouterr().out.rstrip().endswith("[2/3 done]")


def test_a_stage_is_called_by_its_kind_once():
    assert [Stage("recordings", {}, (), "a", title).name for title in ("recordings of asr.train", "asr.train")] == [
        "recordings of asr.train",
        "recordings asr.train",
    ]


# Against the truth ----------------------------------------------------------------------------------------------------


def test_the_truth_lies_in_the_range():
    """In four of five made-up runs at least, at their beginning and later; and measured paces make a good estimate."""
    for rows, doubt in ((3, 1.0), (3, 0.4)):
        for share in compared(12, (0.0, 0.2, 0.5), rows=rows, doubt=doubt):
            assert fmean(held for _, held in share) >= 0.8
    assert fmean(abs(ratio - 1) < 0.25 for ratio, _ in share) >= 0.8


@pytest.mark.slow
def test_the_truth_lies_in_the_range_of_many_runs():
    for share in compared(150, (0.0, 0.1, 0.2, 0.5, 0.8, 0.95)):
        assert fmean(held for _, held in share) >= 0.8


@pytest.mark.parametrize(
    ("used", "load", "factor"),
    [
        (1.0, 3.0, 1.0),  # planning alone: the load is of work that ended
        (3.0, 0.0, 1.5),  # two other cores
        (3.9, 9.0, 3.25),  # no core is idle, and nine processes want to run
        (None, 2.0, 1.5),  # nothing is known but the load
    ],
)
def test_other_work_is_what_runs_now(monkeypatch, used, load, factor):
    monkeypatch.setattr(schedule.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(schedule.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(schedule.time, "monotonic", lambda: schedule._SINCE + 10)
    monkeypatch.setattr(schedule, "_BUSY", 100.0)
    monkeypatch.setattr(schedule, "_busy", lambda: None if used is None else 100.0 + 10 * used)
    assert schedule.crowded(4) == pytest.approx(factor)
