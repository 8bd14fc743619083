"""Which stages are done, running, or next; which order ends soonest; how long it will take. Starts nothing itself."""

from __future__ import annotations

import heapq
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Optional

from ablate.clusters import failure
from ablate.store import needs, pruned
from ablate.store.run import RunFolder
from ablate.store.stage import Stage, lay

WAITING, QUEUED, RUNNING, ELSEWHERE = "waiting", "queued", "running", "running elsewhere"
DONE, FAILED, BLOCKED, STOPPED = "done", "failed", "blocked", "stopped"
ENDED = frozenset({DONE, FAILED, BLOCKED, STOPPED})


def counted(reasons: Iterable[str]) -> dict[str, int]:
    """Count how often each reason occurs, the most frequent first."""
    return dict(Counter(reasons).most_common())


class Board:
    """The stages of a plan, parents first, and the state of each.

    `events` collects (id, state) changes for a display to consume; `why` says what went wrong with a stage.
    """

    def __init__(self, stages: Mapping[str, Stage], root: Path):
        self.stages = dict(in_order(stages))
        self.root = Path(root)
        self.folders = {id: RunFolder(root, stage.kind, id) for id, stage in self.stages.items()}
        done = {id for id, folder in self.folders.items() if folder.done}
        self.again = needs.remade(self.stages, done, self.root)  # pruned, but needed by missing stages
        self.state = {id: DONE if id in done - self.again else WAITING for id in self.stages}
        self.found_done = self.count(DONE)
        self.why: dict[str, str] = {}
        self.events: list[tuple[str, str]] = []
        self.remarks: list[str] = []  # further remarks about the current state
        self.pending: Mapping[str, int] = {}  # reasons why stages wait in a queue -> number of stages
        self.ranks = ranks(self.stages)
        self._vain: set[str] = set()  # stages that lacked pruned files when there was nothing to make again
        self._children: dict[str, list[str]] = {id: [] for id in self.stages}
        for id, stage in self.stages.items():
            for parent in stage.awaits(self.stages):
                self._children[parent].append(id)

    def set(self, id: str, state: str, why: str = "") -> None:
        """Change a stage's state; a failure blocks what depends on it."""
        if self.state[id] == state:
            return
        self.state[id] = state
        self.events.append((id, state))
        if why:
            self.why[id] = why
        if state in (FAILED, BLOCKED):
            for child in self.children(id):
                if self.state[child] not in ENDED:
                    self.set(child, BLOCKED, f"needs {self.stages[id].title} ({self.stages[id].kind})")

    def children(self, id: str) -> list[str]:
        """Return the stages that start from this one."""
        return self._children[id]

    def ready(self) -> list[str]:
        """Return the waiting stages whose inputs are all done, those with the longest remaining path first."""
        able = [
            id
            for id, stage in self.stages.items()
            if self.state[id] == WAITING and all(self.state[parent] == DONE for parent in stage.awaits(self.stages))
        ]
        return sorted(able, key=lambda id: -self.ranks[id])

    def reopen(self) -> None:
        """Mark the finished stages that are to be made again as not done, for every process."""
        for id in self.again:
            self._reopen(id)

    def _reopen(self, id: str) -> None:
        pruned.reopen(self.folders[id].path)
        (self.folders[id].path / failure.NAME).unlink(missing_ok=True)  # from before it was done

    def remake(self, id: str) -> bool:
        """Make again the stages that this one starts from, if their folders were removed or what it reads of them was
        pruned; and write its own folder again. Return whether there were any.
        """
        lay(self.stages[id], self.root)
        wanted = ancestors(self.stages, [id])
        stages = {one: stage for one, stage in self.stages.items() if one in wanted}
        done = {one for one in stages if self.state[one] == DONE and self.folders[one].done}
        again = needs.remade(stages, done, self.root)
        for one in again:
            self._reopen(one)
            self.set(one, WAITING, "it was pruned")
        gone = [p for p in self.stages[id].awaits(self.stages) if self.state[p] == DONE and not self.folders[p].done]
        for parent in gone:
            self.remake(parent)
            self.set(parent, WAITING, "its folder was removed")
        return bool(again or gone)

    def supply(self, id: str) -> bool:
        """Call `remake` for a stage that ended because what it reads was pruned. Return False if there was nothing to
        make again twice in a row: then no stage of this plan makes what it reads.
        """
        if self.remake(id):
            self._vain.discard(id)
            return True
        vain = id in self._vain
        self._vain.add(id)  # another process may have made it again meanwhile
        return not vain

    def follow_others(self) -> None:
        """Mark stages that other processes run now."""
        for id, folder in self.folders.items():
            if self.state[id] == WAITING and folder.holder() is not None:
                self.set(id, ELSEWHERE)

    def look(self) -> None:
        """Follow the stages that other processes run: done if theirs is done, waiting again if they gave it up."""
        for id, state in self.state.items():
            if state == ELSEWHERE:
                if self.folders[id].done:
                    self.set(id, DONE)
                elif self.folders[id].holder() is None:
                    self.set(id, WAITING)

    def count(self, *states: str) -> int:
        """Count the stages in any of these states."""
        return sum(state in states for state in self.state.values())

    @property
    def ended(self) -> bool:
        """Whether nothing is left to wait for."""
        return all(state in ENDED for state in self.state.values())

    def seconds_left(self, workers: int) -> float:
        """Estimate the seconds until all is done, from the stages' costs, corrected by recently finished ones."""
        progress = {id: self.fraction(id) for id, state in self.state.items() if state in (RUNNING, ELSEWHERE)}
        open_ = {id: s for id, s in self.stages.items() if self.state[id] not in ENDED}
        return makespan(open_, workers, progress)

    def fraction(self, id: str) -> float:
        """Return the share of a stage that is done, as it reports itself."""
        lock = self.folders[id].holder() or {}
        return min(1.0, lock.get("step", 0) / lock["steps"]) if lock.get("steps") else 0.0


def in_order(stages: Mapping[str, Stage]) -> Iterable[tuple[str, Stage]]:
    """Yield (id, stage), parents before children, otherwise in the given order."""
    seen: set[str] = set()

    def visit(id: str) -> Iterable[tuple[str, Stage]]:
        if id not in seen:
            seen.add(id)
            for parent in stages[id].awaits(stages):
                yield from visit(parent)
            yield id, stages[id]

    for id in stages:
        yield from visit(id)


def ancestors(stages: Mapping[str, Stage], ids: Iterable[str]) -> set[str]:
    """Return these stages and everything they start from."""
    needed: set[str] = set()
    stack = list(ids)
    while stack:
        id = stack.pop()
        if id not in needed:
            needed.add(id)
            stack += stages[id].awaits(stages)
    return needed


def ranks(stages: Mapping[str, Stage]) -> dict[str, float]:
    """Return for each stage the cost in seconds of the most expensive path from its start to an end."""
    rank = {id: stage.cost for id, stage in stages.items()}
    for id, stage in reversed(list(in_order(stages))):
        for parent in stage.awaits(stages):
            rank[parent] = max(rank[parent], stages[parent].cost + rank[id])
    return rank


def makespan(stages: Mapping[str, Stage], workers: int, progress: Optional[Mapping[str, float]] = None) -> float:
    """Return how many seconds `workers` need for the stages; parents outside `stages` count as done.

    Simulates the schedule: whenever a worker is free it takes the ready stage with the longest remaining path.
    """
    progress = progress or {}
    inside = {id: replace(s, parents=tuple(p for p in s.parents if p[1] in stages)) for id, s in stages.items()}
    rank = ranks(inside)
    missing = {id: len(s.awaits(inside)) for id, s in inside.items()}
    children: dict[str, list[str]] = {id: [] for id in inside}
    for id, s in inside.items():
        for parent in s.awaits(inside):
            children[parent].append(id)
    ready = [(-1 if id in progress else 0, -rank[id], id) for id in inside if not missing[id]]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < max(1, workers):
            id = heapq.heappop(ready)[2]
            heapq.heappush(running, (now + inside[id].cost * (1.0 - progress.get(id, 0.0)), id))
        now, id = heapq.heappop(running)
        for child in children[id]:
            missing[child] -= 1
            if not missing[child]:
                heapq.heappush(ready, (0, -rank[child], child))
    return now


def cores() -> int:
    """Return the number of cores that this process may use: its affinity, limited by its control group's quota."""
    available = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return available
    return available if quota == "max" else max(1, min(available, int(quota) // int(period)))
