"""How long the open stages of a board will still take, as a range. Every line about time left is taken from here.

What is known of a stage's duration, the weakest first: its planned cost (from operations, or from finished stages of
its shape under the root, which `Stage.doubt` tells apart); the stages that ended in this run; its own progress. They
are joined by one model. The log of duration over cost is a sum of normal deviations: of the machine on this day, of
each group in `Stage.alike`, and of the stage. What ended or runs is observed, with an error. That gives the deviations
of the open stages, jointly; some of their possible values are drawn, and each draw is scheduled. The draws are the same
each time, so that an estimate moves only with what is known.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist, fmean, median, pstdev
from typing import Any

from ablate.clusters.schedule import BLOCKED, DONE, ELSEWHERE, FAILED, QUEUED, RUNNING, STOPPED, WAITING, Ahead, Board
from ablate.store import continuing
from ablate.store.stage import Stage

DRAWS = 32  # possible futures
OUTSIDE = 1  # of them on each side of the range
LARGE = 20_000  # stages times draws: of more stages fewer futures are drawn, but at least half
# Standard deviations of logs, each with a doubt of 1 where a stage's doubt counts:
MACHINE = 0.6  # of all stages: how fast this machine is, and what else it does
GROUPS = (0.6, 0.2, 0.15, 0.1)  # of the groups in `Stage.alike`, in their order, times the doubt of a stage
STAGE = 0.15  # of stages of equal shape
CHANGE = 0.1  # of all that is ahead: other work comes and goes
# Errors of what is observed:
PACE = 0.1  # of a pace in the middle of a stage, as its parts differ
EARLY = 0.15  # of a pace at a stage's beginning, further
BEGINNING = 0.02  # share of a stage that may pass as slowly, or as fast, as no other: loading, starting processes
ENDED_SECONDS, STARTED_SECONDS = 0.3, 1.0  # of durations: starting a process, loading
FRESH = 600.0  # seconds after which a duration that was measured counts half
STALE = 0.05  # but at least this much


@dataclass(frozen=True)
class Span:
    """A range of seconds, with the most likely value in it."""

    low: float
    likely: float
    high: float

    @staticmethod
    def of(draws: Sequence[float]) -> Span:
        """The range of all but the lowest and the highest draws."""
        drawn = sorted(draws)
        return Span(drawn[OUTSIDE], median(drawn), drawn[-1 - OUTSIDE])


@dataclass(frozen=True)
class Left:
    """An estimate: of all open stages, with the workers there are, and of each running one."""

    all: Span
    work: Span
    """Of one worker alone."""
    stages: Mapping[str, Span] = field(default_factory=dict)
    queue: bool = False
    """Whether jobs have yet to start, and so may have to wait for as long as nobody knows, which is not counted."""


class Remaining:
    """Estimates the time left of a board with `workers`; keep it while the board is followed.

    `slower` is the factor by which other work on this machine is thought to slow the stages down, until they show.
    `queues` says that they are jobs, which may have to wait.
    """

    def __init__(self, board: Board, workers: int, slower: float = 1.0, queues: bool = False):
        self.board, self.workers, self.queues = board, workers, queues
        self.draws = max(DRAWS // 2, min(DRAWS, LARGE // max(1, len(board.stages))))
        self._left: set[str] = set()  # stages that were seen to be stopped
        self._begun: dict[str, float] = {}  # stage → share of its planned cost that is no part of its present attempt
        for id, stage in board.stages.items():
            if board.state[id] != DONE and stage.steps and (steps := continuing.begun(stage, board.root)):
                self._begin(id, steps)
        self._tree(math.log(slower))

    def _tree(self, machine: float) -> None:
        """Lay out the groups and stages: parents before children, the first is the machine."""
        names: dict[tuple[str, ...], int] = {(): 0}
        self._parent, self._variance, self._leaf = [0], [MACHINE**2], {}
        self._machine = machine
        for id, stage in self.board.stages.items():
            above = 0
            path: tuple[str, ...] = ()
            for name, spread in zip((stage.alike or (stage.kind,)), GROUPS):
                path = (*path, name)
                above = names.setdefault(path, len(names))
                if above == len(self._parent):
                    self._add(names[path[:-1]], (spread * stage.doubt) ** 2)
            self._leaf[id] = names.setdefault((*path, "", id), len(names))
            self._add(above, STAGE**2)
        normal = NormalDist()
        self._noise = [[normal.inv_cdf((n + 0.5) / self.draws) for n in range(self.draws)]]
        self._noise += [_noise(path, self.draws) for path in list(names)[1:]]
        self._changes = _noise(("what is ahead",), self.draws)

    def _add(self, parent: int, variance: float) -> None:
        self._parent.append(parent)
        self._variance.append(max(variance, 1e-6))

    def estimate(self) -> Left:
        """Estimate from what is known now."""
        board = self.board
        open_ = to_do(board)
        for id in open_.keys() - self._left:
            if board.state[id] == STOPPED:
                self._left.add(id)
                self._begin(id, continuing.begun(open_[id], board.root) if open_[id].steps else 0)
        here = [id for id in open_ if board.state[id] == RUNNING]
        elsewhere = [id for id in open_ if board.state[id] == ELSEWHERE]
        progress = {id: self._progress(id) for id in (*here, *elsewhere)}
        logs = self._believed(open_, progress)
        seconds = {id: self._seconds(id, logs[id], progress.get(id)) for id in open_}
        if not here:  # this process only looks on: who runs them will run the rest
            here, elsewhere = elsewhere, []
        ahead = Ahead(open_, self.workers, board.ranks, here, elsewhere)
        futures = list(zip(*(seconds[id] for id in ahead.order))) or [()]
        factors = [math.exp(CHANGE * change) for change in self._changes]
        spans = [ahead.span(future) * by for future, by in zip(futures, factors)] if open_ else [0.0] * self.draws
        work = [sum(future) * by for future, by in zip(futures, factors)] if open_ else spans
        return Left(
            Span.of(spans),
            Span.of(work),
            {id: Span.of([one * by for one, by in zip(seconds[id], factors)]) for id in progress},
            self.queues and board.count(QUEUED, WAITING) > 0,
        )

    def share(self, left: Left) -> float:
        """The share of the work that is done, as the estimate has it."""
        board = self.board
        done = sum(
            board.took[id][0] if id in board.took else stage.cost
            for id, stage in board.stages.items()
            if board.state[id] == DONE
        )
        done += sum(self._spent(id, board.folders[id].holder() or {}) for id in left.stages)
        return done / (done + left.work.likely) if done else 0.0

    # What is known --------------------------------------------------------------------------------------------------

    def _cost(self, id: str) -> float:
        """Planned seconds of what a stage has to do since it was started, or would have if it were started now."""
        return max(self.board.stages[id].cost * (1 - self._begun.get(id, 0.0)), 1e-3)

    def _begin(self, id: str, steps: int) -> None:
        """Note that a stage begins after this many of its steps."""
        stage = self.board.stages[id]
        spared = continuing.spared(stage, self.board.stages)
        self._begun[id] = (steps - spared) / max(1, stage.steps - spared)

    def _progress(self, id: str) -> tuple[float, float, float]:
        """Return the share done of what a running stage has to do since it was started, the seconds that this took,
        and the seconds since.
        """
        lock = self.board.folders[id].holder() or {}
        whole = self._spent(id, lock)
        step, steps, first, spent = (lock.get(name, 0) for name in ("step", "steps", "first", "spent"))
        if min(step, steps) <= first or not spent:
            return 0.0, whole, 0.0
        if "first" in lock:
            self._begin(id, first)
        return min(1.0, (step - first) / (steps - first)), spent, max(0.0, whole - spent)

    def _spent(self, id: str, lock: Mapping[str, Any]) -> float:
        """Return for how many seconds a running stage has run; of those that others started, up to its last sign."""
        if id in self.board.began:
            return self.board.clock() - self.board.began[id]
        return max(0.0, lock["seen"] - lock["made"]) if lock else 0.0

    def _observed(self, progress: Mapping[str, tuple[float, float, float]]) -> dict[str, tuple[float, float]]:
        """Return the log of duration over cost of the stages that ended or run, and the variance of its error."""
        observed, now = {}, self.board.clock()
        for id, (seconds, when) in self.board.took.items():
            if self.board.state[id] == DONE and seconds > 0:
                known = max(STALE, 0.5 ** ((now - when) / FRESH))
                cost = self._cost(id)
                error = 1e-4 + (ENDED_SECONDS / min(seconds, cost)) ** 2  # what was hardly planned tells nothing
                observed[id] = math.log(seconds / cost), error / known
        for id, (share, spent, _) in progress.items():
            if share > 0 and spent > 0:
                error = PACE**2 + (EARLY * (1 - share)) ** 2 + (STARTED_SECONDS / spent) ** 2 + (BEGINNING / share) ** 2
                observed[id] = math.log(spent / share / self._cost(id)), error
        return observed

    # What follows ---------------------------------------------------------------------------------------------------

    def _believed(
        self, open_: Mapping[str, Stage], progress: Mapping[str, tuple[float, float, float]]
    ) -> dict[str, list[float]]:
        """Draw the log of duration over cost of each open stage, given what is observed.

        All is normal and a tree: what is observed is gathered from the stages up to the machine, each group's deviation
        making it vaguer (weights are inverse variances), and the draws are made on the way down.
        """
        parent, variance, count = self._parent, self._variance, len(self._parent)
        weight, pull, wanted = [0.0] * count, [0.0] * count, [False] * count
        for id, (log, error) in self._observed(progress).items():
            weight[self._leaf[id]] += 1 / error
            pull[self._leaf[id]] += log / error
        for id in open_:
            wanted[self._leaf[id]] = True
        for node in range(count - 1, 0, -1):
            above = parent[node]
            wanted[above] |= wanted[node]
            if weight[node]:
                passed = 1 / (1 / weight[node] + variance[node])
                pull[above] += passed * pull[node] / weight[node]
                weight[above] += passed
        drawn: list[list[float]] = [[] for _ in range(count)]
        for node in range(count):
            if wanted[node]:
                prior = 1 / variance[node]
                whole = prior + weight[node]
                spread = whole**-0.5
                centres = drawn[parent[node]] if node else [self._machine] * self.draws
                drawn[node] = [
                    (prior * centre + pull[node]) / whole + spread * noise
                    for centre, noise in zip(centres, self._noise[node])
                ]
        return {id: drawn[self._leaf[id]] for id in open_}

    def _seconds(self, id: str, logs: Sequence[float], progress: tuple[float, float, float] | None) -> list[float]:
        """Return the seconds that an open stage still takes, for each draw."""
        cost = self._cost(id)
        if progress is None:
            return [cost * math.exp(log) for log in logs]
        share, spent, since = progress
        if share:
            return [max(0.0, cost * math.exp(log) * (1 - share) - since) for log in logs]
        if not spent:
            return [cost * math.exp(log) for log in logs]
        return [cost * math.exp(log) - spent for log in _above(logs, math.log(spent / cost))]


def to_do(board: Board) -> dict[str, Stage]:
    """The stages that are still to be done: those that were stopped, too, as the same command goes on with them."""
    return {id: stage for id, stage in board.stages.items() if board.state[id] not in (DONE, FAILED, BLOCKED)}


def _noise(path: tuple[str, ...], count: int) -> list[float]:
    """Standard normal draws, a function of the path; with each its opposite."""
    draw = random.Random("/".join(path))
    half = [draw.gauss(0, 1) for _ in range((count + 1) // 2)]
    return [*half, *(-one for one in half)][:count]


def _above(draws: Sequence[float], least: float) -> list[float]:
    """Return draws of a normal variable as they are if it is known to be above `least`, in the same order of size."""
    normal, mean, spread = NormalDist(), fmean(draws), max(pstdev(draws), 1e-3)
    mean = max(mean, least - 3 * spread)  # far beyond what was thought possible: soon, but who knows
    below = normal.cdf((least - mean) / spread)
    made = [0.0] * len(draws)
    for rank, place in enumerate(sorted(range(len(draws)), key=draws.__getitem__)):
        made[place] = mean + spread * normal.inv_cdf(below + (1 - below) * (rank + 0.5) / len(draws))
    return [max(one, least) for one in made]
