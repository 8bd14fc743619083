"""Map a function over many items with processes, in order; the processes never outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import TypeVar

import torch

from ablate.store import child

T = TypeVar("T")
R = TypeVar("R")

CHUNK = 8  # number of items that a process is given at once
AHEAD = 4  # chunks per process that are started before their results are asked for


def ordered(function: Callable[[T], R], items: Iterable[T], each: int = 100) -> Iterator[R]:
    """Yield `function(item)` for every item, in order, using one single-threaded process per core.

    `function` must be importable. Items are taken as they are needed, some hundred ahead. A process takes seconds to
    start: with fewer than `each` items per process there are fewer processes, or none. An exception in the function is
    raised here, and items not yet started are dropped.
    """
    items, cores = iter(items), len(os.sched_getaffinity(0))
    first = list(islice(items, cores * each))
    processes = min(cores, len(first) // each)
    items = chain(first, items)
    if processes < 2:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("forkserver"), initializer=begin)
    try:
        ahead: deque[Future[list[R]]] = deque()
        while chunk := list(islice(items, CHUNK)):
            ahead.append(pool.submit(_each, function, chunk))
            if len(ahead) > AHEAD * processes:
                yield from ahead.popleft().result()
        while ahead:
            yield from ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _each(function: Callable[[T], R], items: list[T]) -> list[R]:
    return [function(item) for item in items]


def begin() -> None:
    """What every worker process does first."""
    torch.set_num_threads(1)
    child.begin()
