"""The updates of training, made ahead of time: by worker processes where recordings have to be read, else by a thread.

What an update holds follows from the cursors alone, and cursors from the sizes of items, which are known without
reading them. So the training process says what to make, workers make it in any order, and neither how many there are
nor where training was resumed changes what it gets. While no worker is up yet, and where nothing is begun for the
cursors it asks for, the training process makes the update itself.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, Protocol

from ablate.data.packing import Draws
from ablate.data.parallel import begin
from ablate.data.table import Table
from encoders.batch import Batch

Cursors = dict[str, int]
Shards = list[dict[str, Batch]]

AHEAD = 3  # updates a worker that are begun before they are asked for


class Feed(Protocol):
    """What a loader draws from, such as a `Stream`: it says what an update holds without reading it, and then
    makes it.
    """

    table: Table

    def drawn(self, cursor: int, budget: float, shards: int = 1) -> tuple[list[Draws], int]: ...

    def collate(self, draws: Draws) -> Batch: ...


_FEEDS: dict[str, Feed] = {}  # of a worker process


class Loader:
    """Give the update at any cursors; use as a context manager, so that the workers end.

    `opened` opens the feeds, here and in every worker; `budgets` are of an update, by feed. `workers` is 0 where all
    features are stored: a thread packs (and perturbs) them as fast. Without a number there are as many as cores, at
    most 4.
    """

    def __init__(
        self,
        opened: Callable[[], Mapping[str, Feed]],
        budgets: Mapping[str, float],
        shards: int = 1,
        workers: int | None = None,
    ) -> None:
        self.feeds = opened()
        self.budgets, self.shards, self._opened = budgets, shards, opened
        if workers is None:
            reading = any(feed.table.has_audio and not feed.table.stored for feed in self.feeds.values())
            workers = min(4, len(os.sched_getaffinity(0))) if reading else 0
        self.workers = workers
        self._pool: Executor | None = None
        self._up: list[Future[None]] = []  # done by workers that are there
        self._ahead: deque[tuple[Cursors, Cursors, Future[bytes | Shards]]] = deque()  # before, after, what is made

    def update(self, step: int, cursors: Cursors) -> tuple[Shards, Cursors]:
        """Return the shards of the update at `cursors` (0 where a stream has none), and the cursors after it."""
        if self._ahead and self._ahead[0][0] != cursors:
            self._ahead.clear()  # somebody went elsewhere
        if self._ahead:
            _, after, made = self._ahead.popleft()
            self._begin(after)
            shards = made.result()
            return pickle.loads(shards) if isinstance(shards, bytes) else shards, after
        drawn, after = self._drawn(cursors)
        self._begin(after)
        return _made(self.feeds, drawn), after

    def _begin(self, cursors: Cursors) -> None:
        """Have made what is ahead, `cursors` being those after the update that is asked for."""
        while self._ready() and len(self._ahead) < AHEAD * max(1, self.workers):
            before = self._ahead[-1][1] if self._ahead else cursors
            drawn, after = self._drawn(before)
            made = self._pool.submit(_work, drawn) if self.workers else self._pool.submit(_made, self.feeds, drawn)
            self._ahead.append((before, after, made))

    def _ready(self) -> bool:
        """Whether a worker is up; they are started when this is first asked, and import torch for seconds."""
        if self._pool is None:
            if not self.workers:
                self._pool = ThreadPoolExecutor(1)
            else:
                context = multiprocessing.get_context("forkserver")
                self._pool = ProcessPoolExecutor(self.workers, context, initializer=_open, initargs=(self._opened,))
            self._up = [self._pool.submit(_nothing) for _ in range(max(1, self.workers))]
        return any(one.done() for one in self._up)

    def _drawn(self, cursors: Cursors) -> tuple[list[dict[str, Draws]], Cursors]:
        """What each shard holds, by feed, and the cursors after the update."""
        taken = {
            name: feed.drawn(cursors.get(name, 0), self.budgets[name], self.shards) for name, feed in self.feeds.items()
        }
        shards = [{name: drawn[i] for name, (drawn, _) in taken.items()} for i in range(self.shards)]
        return shards, cursors | {name: cursor for name, (_, cursor) in taken.items()}

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: Any) -> None:
        self._ahead.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _made(feeds: Mapping[str, Feed], shards: list[dict[str, Draws]]) -> Shards:
    return [{name: feeds[name].collate(draws) for name, draws in shard.items()} for shard in shards]


def _open(opened: Callable[[], Mapping[str, Feed]]) -> None:
    begin()
    _FEEDS.update(opened())


def _nothing() -> None:
    pass


def _work(shards: list[dict[str, Draws]]) -> bytes:
    # pickled here, as plain bytes: tensors sent between processes otherwise take shared memory, which containers ration
    return pickle.dumps(_made(_FEEDS, shards), pickle.HIGHEST_PROTOCOL)
