"""Map a function over many items by processes, in order; they never outlive the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def ordered(function: Callable[[T], R], items: Sequence[T], each: int = 100) -> Iterator[R]:
    """Yield `function(item)` for every item, in order, by one single-threaded process per core.

    `function` must be importable. Fewer than `each` items per process are not worth its start of some seconds: then
    there are fewer processes, or none. An exception of the function is raised here, and what was not begun is dropped.
    """
    processes = min(len(os.sched_getaffinity(0)), len(items) // each)
    if processes < 2:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("forkserver"), initializer=_begin)
    try:
        yield from pool.map(function, items, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """A worker waits for work on a pipe that its siblings hold open too, so a killed parent would go unnoticed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
