"""Runs of made-up sweeps on a simulated clock: no process, no file, and a truth to compare an estimate with."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from pathlib import Path

from ablate.clusters.remaining import Left, Remaining
from ablate.clusters.schedule import DONE, RUNNING, Board
from ablate.store.stage import Stage

START = 0.5


@dataclass
class Folder:
    """A run folder as an estimate sees it: a lock with progress while its stage runs."""

    lock: dict | None = None
    done: bool = False

    def holder(self) -> dict | None:
        return self.lock


@dataclass
class Simulated:
    """A sweep of `rows` rows in which nothing is as planned, run by two workers.

    A draw gives how slow the machine is, how wrong the plan is for each kind, task and stage, and in three of ten runs
    when another process comes or goes. A stage needs START to start, of which the plan expects a half, and then reports
    its progress once a second.
    """

    seed: int
    rows: int = 8
    doubt: float = 1.0
    """Of the plan: the spread of its mistakes about kinds and tasks."""
    now: float = 0.0
    stages: dict[str, Stage] = field(default_factory=dict)
    true: dict[str, float] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draw = random.Random(self.seed)
        self.machine = math.exp(draw.gauss(0, 0.5))
        self.turn = draw.uniform(0, 400), math.exp(draw.gauss(0, 0.3)) if draw.random() < 0.3 else 1.0
        off: dict[tuple[str, ...], float] = {}

        def add(id: str, alike: tuple[str, ...], cost: float, steps: int, *parents: str) -> str:
            for depth in range(1, len(alike) + 1):
                off.setdefault(alike[:depth], draw.gauss(0, 0.4 * self.doubt))
            log = sum(off[alike[:depth]] for depth in range(1, len(alike) + 1)) + draw.gauss(0, 0.1)
            roles = tuple((parent, parent) for parent in parents)
            self.stages[id] = Stage(
                alike[0], {}, roles, id, steps=steps, cost=cost + START / 2, alike=(*alike, id), doubt=self.doubt
            )
            self.true[id] = cost * math.exp(log)
            self.told[id] = -1.0
            return id

        data = [add(f"table{n}", ("table",), draw.uniform(0.1, 4), 100) for n in range(6)]
        for row in range(self.rows):
            trunk = add(f"{row}/trunk", ("pretrain", ""), draw.uniform(5, 60), 100, *data)
            for task in ("asr", "st", "nli")[: draw.randint(1, 3)]:
                tuned = add(f"{row}/{task}", ("finetune", task), draw.uniform(3, 20), 100, trunk)
                add(f"{row}/{task}/score", ("score", task), draw.uniform(0.2, 1), 0, tuned)

    def run(self, shares: tuple[float, ...]) -> tuple[list[tuple[Left, float]], float]:
        """Run it; return the estimate and the true time left when each of `shares` of the work was done, and the
        whole time.
        """
        board = Board(self.stages, Path("/nowhere"), clock=lambda: self.now)
        board.folders = {id: Folder() for id in self.stages}
        remaining, made = Remaining(board, 2), []
        whole, done = sum(self.true.values()), 0.0
        ends: dict[str, float] = {}  # what running stages still need to start
        rest = dict(self.true)
        asked = [*shares]
        while not board.ended:
            for id in board.ready()[: 2 - board.count(RUNNING)]:
                board.set(id, RUNNING)
                ends[id] = START
                board.folders[id].lock = {"made": 0.0, "seen": 0.0}
            for id in ends:
                self._report(board, id, 1 - rest[id] / self.true[id])
            while asked and done >= asked[0] * whole:
                asked.pop(0)
                made.append((remaining.estimate(), self.now))
            speed = 1 / (self.machine * (self.turn[1] if self.now > self.turn[0] else 1.0))
            step = min(0.25, *((rest[id] + ends[id]) / speed for id in ends)) + 1e-6
            self.now += step
            for id in list(ends):
                work = step * speed
                starting = min(work, ends[id])
                ends[id] -= starting
                rest[id] -= work - starting
                done += work - starting
                if rest[id] <= 1e-4:
                    del ends[id]
                    board.folders[id] = Folder(done=True)
                    board.set(id, DONE)
        return [(left, self.now - when) for left, when in made], self.now

    def _report(self, board: Board, id: str, share: float) -> None:
        steps = self.stages[id].steps
        if share and steps and self.now - self.told[id] >= 1.0:
            self.told[id] = self.now
            lock = {"step": share * steps, "steps": steps, "first": 0, "spent": self.now - board.began[id]}
            board.folders[id].lock.update(lock)


def compared(runs: int, shares: tuple[float, ...], **how: float) -> list[list[tuple[float, bool]]]:
    """For each of `shares` of the work, in `runs` runs: estimate over truth, and whether the truth is in the range."""
    found: list[list[tuple[float, bool]]] = [[] for _ in shares]
    for seed in range(runs):
        estimates, _ = Simulated(seed, **how).run(shares)
        for number, (left, truth) in enumerate(estimates):
            found[number].append((left.all.likely / truth, left.all.low <= truth <= left.all.high))
    return found
