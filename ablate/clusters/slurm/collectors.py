"""The jobs that run a sweep's command again: how they are known in the queue."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from ablate.clusters.resources import COLLECT
from ablate.clusters.schedule import Board
from ablate.clusters.slurm.controller import Queued
from ablate.clusters.slurm.job import Collector


class Collectors:
    """The collectors of one sweep under one root; each carries as its comment which sweep, and what it is to do."""

    def __init__(self, board: Board, sweep: str) -> None:
        self.board, self.name = board, f"{sweep}.{COLLECT}"
        self._mark = f"ablate.{COLLECT}:{_digest([str(Path(board.root).resolve()), sweep])}"

    def there(self, queue: Mapping[str, Queued]) -> dict[str, str]:
        """Those in the queue, by id, with what each is to do."""
        prefix = f"{self._mark}:"
        return {job: one.comment[len(prefix) :] for job, one in queue.items() if one.comment.startswith(prefix)}

    def mark(self, collect: Collector) -> str:
        """Comment of a job that collects what is on this board, by this command."""
        return f"{self._mark}:{_digest([*sorted(self.board.stages), collect.main, *collect.arguments])}"


def _digest(what: list[str]) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]
