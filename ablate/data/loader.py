"""The updates of pre-training, made ahead of time by worker processes where recordings have to be read.

What an update holds follows from the cursors alone, and cursors from the sizes of items, which are known without reading
them. So the training process says what to make, workers make it in any order, and neither how many there are nor where
training was resumed changes what it gets.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from ablate.data.packing import Draws, Stream
from ablate.data.parallel import begin
from encoders.batch import Batch

Cursors = dict[str, int]
Shards = list[dict[str, Batch]]

AHEAD = 3  # updates a worker that are begun before they are asked for

_FEEDS: dict[str, Stream] = {}  # of a worker process


class Loader:
    """Give the update at any cursors; use as a context manager, so that the workers end.

    `opened` opens the streams, here and in every worker; `budgets` are of an update, by stream. `workers` is 0 where all
    features are stored: they are packed as fast here. Without a number there are as many as cores, at most 4.
    """

    def __init__(
        self, opened: Callable[[], dict[str, Stream]], budgets: Mapping[str, float], shards: int = 1, workers: int | None = None
    ) -> None:
        self.feeds = opened()
        self.budgets, self.shards, self._opened = budgets, shards, opened
        if workers is None:
            reading = any(feed.table.has_audio and not feed.table.stored for feed in self.feeds.values())
            workers = min(4, len(os.sched_getaffinity(0))) if reading else 0
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None
        self._ahead: deque[tuple[Cursors, Cursors, Future[bytes]]] = deque()  # before, after, what is made

    def update(self, step: int, cursors: Cursors) -> tuple[Shards, Cursors]:
        """Return the shards of the update at `cursors` (0 where a stream has none), and the cursors after it."""
        if not self.workers:
            drawn, after = self._drawn(cursors)
            return _made(self.feeds, drawn), after
        if self._ahead and self._ahead[0][0] != cursors:
            self._ahead.clear()  # somebody went elsewhere
        while len(self._ahead) < AHEAD * self.workers:
            before = self._ahead[-1][1] if self._ahead else cursors
            drawn, after = self._drawn(before)
            self._ahead.append((before, after, self._running().submit(_work, drawn)))
        _, after, made = self._ahead.popleft()
        return pickle.loads(made.result()), after

    def _drawn(self, cursors: Cursors) -> tuple[list[dict[str, Draws]], Cursors]:
        """What each shard holds, by stream, and the cursors after the update."""
        taken = {
            name: feed.drawn(cursors.get(name, 0), self.budgets[name], self.shards) for name, feed in self.feeds.items()
        }
        shards = [{name: drawn[i] for name, (drawn, _) in taken.items()} for i in range(self.shards)]
        return shards, cursors | {name: cursor for name, (_, cursor) in taken.items()}

    def _running(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            self._pool = ProcessPoolExecutor(self.workers, context, initializer=_open, initargs=(self._opened,))
        return self._pool

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: Any) -> None:
        self._ahead.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _made(feeds: Mapping[str, Stream], shards: list[dict[str, Draws]]) -> Shards:
    return [{name: feeds[name].collate(draws) for name, draws in shard.items()} for shard in shards]


def _open(opened: Callable[[], dict[str, Stream]]) -> None:
    begin()
    _FEEDS.update(opened())


def _work(shards: list[dict[str, Draws]]) -> bytes:
    # pickled here, as plain bytes: tensors sent between processes otherwise take shared memory, which containers ration
    return pickle.dumps(_made(_FEEDS, shards), pickle.HIGHEST_PROTOCOL)
