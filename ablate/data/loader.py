"""Makes the updates of training in advance: in worker processes if recordings must be read, otherwise in a thread.

The content of an update depends only on the cursors, and cursors depend on the sizes of items, which are known without
reading them. So the training process says what to make, and workers make it in any order; neither their number nor
the point where training was resumed changes the result. While no worker is running yet, or if nothing was started for
the requested cursors, the training process makes the update itself.
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

AHEAD = 3  # updates per worker that are started before they are asked for


class Feed(Protocol):
    """What a loader draws from, such as a `Stream`: it determines the content of an update without reading it, and then
    makes it.
    """

    table: Table

    def drawn(self, cursor: int, budget: float, shards: int = 1) -> tuple[list[Draws], int]: ...

    def collate(self, draws: Draws) -> Batch: ...


_FEEDS: dict[str, Feed] = {}  # of a worker process


class Loader:
    """Gives the update at any cursors; use as a context manager, so that the workers end.

    `opened` opens the feeds, here and in every worker; `budgets` are those of an update, by feed. `workers` should be 0
    if all features are stored: a thread packs (and perturbs) them just as fast. The default is the number of cores, at
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
        self._up: list[Future[None]] = []  # completed by workers that are running
        self._ahead: deque[tuple[Cursors, Cursors, Future[bytes | Shards]]] = deque()  # cursors before, after; result

    def update(self, step: int, cursors: Cursors) -> tuple[Shards, Cursors]:
        """Return the shards of the update at `cursors` (0 where a stream has none), and the cursors after it."""
        if self._ahead and self._ahead[0][0] != cursors:
            self._ahead.clear()  # the caller jumped to other cursors
        if self._ahead:
            _, after, made = self._ahead.popleft()
            self._begin(after)
            shards = made.result()
            return pickle.loads(shards) if isinstance(shards, bytes) else shards, after
        drawn, after = self._drawn(cursors)
        self._begin(after)
        return _made(self.feeds, drawn), after

    def _begin(self, cursors: Cursors) -> None:
        """Start making the updates ahead; `cursors` are those after the requested update."""
        while self._ready() and len(self._ahead) < AHEAD * max(1, self.workers):
            before = self._ahead[-1][1] if self._ahead else cursors
            drawn, after = self._drawn(before)
            made = self._pool.submit(_work, drawn) if self.workers else self._pool.submit(_made, self.feeds, drawn)
            self._ahead.append((before, after, made))

    def _ready(self) -> bool:
        """Whether a worker is running; the first call starts them, and they take seconds to import torch."""
        if self._pool is None:
            if not self.workers:
                self._pool = ThreadPoolExecutor(1)
            else:
                context = multiprocessing.get_context("forkserver")
                self._pool = ProcessPoolExecutor(self.workers, context, initializer=_open, initargs=(self._opened,))
            self._up = [self._pool.submit(_nothing) for _ in range(max(1, self.workers))]
        return any(one.done() for one in self._up)

    def _drawn(self, cursors: Cursors) -> tuple[list[dict[str, Draws]], Cursors]:
        """The content of each shard, by feed, and the cursors after the update."""
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
    # pickled here to plain bytes: tensors sent between processes would take shared memory, which containers limit
    return pickle.dumps(_made(_FEEDS, shards), pickle.HIGHEST_PROTOCOL)
