"""The jobs that run a sweep's command again, and how they are recognised in the queue."""

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
    """The collectors of one sweep under one root; the comment of each names its sweep and identifies its work."""

    def __init__(self, board: Board, sweep: str) -> None:
        self.board, self.name = board, f"{sweep}.{COLLECT}"
        self._mark = f"ablate.{COLLECT}:{_digest([str(Path(board.root).resolve()), sweep])}"

    def there(self, queue: Mapping[str, Queued]) -> dict[str, str]:
        """Those in the queue, by id, each with an identifier of its work."""
        prefix = f"{self._mark}:"
        return {job: one.comment[len(prefix) :] for job, one in queue.items() if one.comment.startswith(prefix)}

    def mark(self, collect: Collector) -> str:
        """Comment of a job that runs this command for the stages on this board."""
        return f"{self._mark}:{_digest([*sorted(self.board.stages), collect.main, *collect.arguments])}"


def _digest(what: list[str]) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]
