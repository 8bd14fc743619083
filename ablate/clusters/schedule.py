"""Which stages are done, running, or next, and which order ends soonest. Starts nothing itself."""

from __future__ import annotations

import heapq
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

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

    `events` collects (id, state) changes for a display to consume; `why` says what went wrong with a stage. `clock`
    gives seconds, and stands still while the machine is suspended.
    """

    def __init__(self, stages: Mapping[str, Stage], root: Path, clock: Callable[[], float] = time.monotonic):
        self.stages, self.clock = dict(in_order(stages)), clock
        self.root = Path(root)
        self.folders = {id: RunFolder(root, stage.kind, id) for id, stage in self.stages.items()}
        done = {id for id, folder in self.folders.items() if folder.done}
        self.again = needs.remade(self.stages, done, self.root)  # pruned, but needed by missing stages
        self.state = {id: DONE if id in done - self.again else WAITING for id in self.stages}
        self.found_done = self.count(DONE)
        self.why: dict[str, str] = {}
        self.events: list[tuple[str, str]] = []
        self.began: dict[str, float] = {}  # when the running stages were started, of those that this process started
        self.took: dict[str, tuple[float, float]] = {}  # seconds of the stages that ended since, and when that was
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
        before, self.state[id] = self.state[id], state
        self.events.append((id, state))
        self._time(id, before, state)
        if why:
            self.why[id] = why
        if state in (FAILED, BLOCKED):
            for child in self.children(id):
                if self.state[child] not in ENDED:
                    self.set(child, BLOCKED, f"needs {self.stages[id].title} ({self.stages[id].kind})")

    def _time(self, id: str, before: str, state: str) -> None:
        """Measure how long a stage runs. Of one that another process ran, its result says so."""
        now, began = self.clock(), self.began.pop(id, None)
        if (before, state) == (WAITING, RUNNING):
            self.began[id] = now
        elif state == DONE and began is not None:
            self.took[id] = now - began, now
        elif state == DONE and self.folders[id].done and (result := self.folders[id].result()).get("attempts") == 1:
            self.took[id] = result["seconds"], now

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


class Ahead:
    """What is ahead of `workers`: the open stages of a plan. `span` runs through it for one guess of their durations.

    Whenever a worker is free it takes the ready stage of highest rank. Of the open stages, those in `running` have
    workers already, and those in `elsewhere` run without one of these. Parents that are not open count as done.
    """

    def __init__(
        self,
        stages: Mapping[str, Stage],
        workers: int,
        ranks: Mapping[str, float],
        running: Collection[str] = (),
        elsewhere: Collection[str] = (),
    ):
        self.order = sorted(stages, key=lambda id: -ranks[id])
        place = {id: number for number, id in enumerate(self.order)}
        self.children: list[list[int]] = [[] for _ in self.order]
        self.missing = [0] * len(self.order)
        for number, id in enumerate(self.order):
            for parent in stages[id].awaits(stages):
                self.children[place[parent]].append(number)
                self.missing[number] += 1
        self.elsewhere = {place[id] for id in elsewhere}
        self.going = [place[id] for id in (*running, *elsewhere)]
        started = {*self.going}
        self.ready = [number for number, lacks in enumerate(self.missing) if not lacks and number not in started]
        self.free = max(1, workers) - len(running)

    def span(self, seconds: Sequence[float]) -> float:
        """Return when the last stage ends, in seconds from now; `seconds` of each are in the order of `order`."""
        missing, ready, free, now = [*self.missing], [*self.ready], self.free, 0.0  # a sorted list is a heap
        going = [(seconds[number], number) for number in self.going]
        heapq.heapify(going)
        while ready or going:
            while ready and free > 0:
                number = heapq.heappop(ready)
                heapq.heappush(going, (now + seconds[number], number))
                free -= 1
            now, number = heapq.heappop(going)
            free += number not in self.elsewhere
            for child in self.children[number]:
                missing[child] -= 1
                if not missing[child]:
                    heapq.heappush(ready, child)
        return now


def cores() -> int:
    """Return the number of cores that this process may use: its affinity, limited by its control group's quota."""
    available = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return available
    return available if quota == "max" else max(1, min(available, int(quota) // int(period)))


def crowded(workers: int) -> float:
    """Return the factor by which what runs on this machine now would slow `workers` further processes down.

    Other work is what the cores did since this module was imported, less one core for planning. The load average tells
    more where no core was idle, as then processes wait; elsewhere it would count work that ended a minute ago.
    """
    count, load = os.cpu_count() or 1, os.getloadavg()[0]
    busy, when = _busy(), time.monotonic()
    if _BUSY is not None and busy is not None and when > _SINCE:
        cores_used = (busy - _BUSY) / (when - _SINCE)
        if cores_used < 0.9 * count:
            load = max(0.0, cores_used - 1)
    return max(1.0, (load + workers) / count)


def _busy() -> float | None:
    """Return the seconds that all cores of this machine have worked since it started; None where this is unknown."""
    try:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # without idle, and waiting for a disk


_BUSY, _SINCE = _busy(), time.monotonic()
