"""Slurm as a cluster: stages are jobs, which continue without the command."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from ablate.clusters.cluster import AbstractCluster, Show
from ablate.clusters.slurm import controller, watch
from ablate.clusters.slurm.job import Collector
from ablate.clusters.slurm.preview import slurm_text
from ablate.clusters.slurm.submit import Jobs
from ablate.store.lock import me


class Slurm(AbstractCluster):
    """The Slurm cluster that this machine can reach."""

    about = "job arrays"
    asks = outlives = True
    advice = "run the same command again with --retry-failed"

    def most_workers(self) -> int:
        return self.resources.get("parallelism", 256)

    @cached_property
    def jobs(self) -> Jobs:
        """The jobs of this sweep. Raises UserError if there is no Slurm, KeyboardInterrupt when told to stop while it
        does not answer.
        """
        return Jobs(self.board, self.name, self.resources, self.program)

    @cached_property
    def watch(self) -> watch.Watch:
        """The object that submits and follows the jobs."""
        return watch.Watch(self.board, self.jobs, self.poll)

    @property
    def poll(self) -> float:
        """Seconds between two looks at the queue."""
        return float(self.resources.get("poll_s", 30))

    def run(self, show: Show, stops: Callable[[], int]) -> None:
        controller.heed(stops)
        super().run(show, stops)

    def submit(self) -> None:
        self.watch.submit()

    def follow(self) -> None:
        self.watch.follow()

    @classmethod
    def left_at(cls, root: Path) -> bool:
        return (root / "slurm").is_dir() and controller.here()

    def preview(self) -> str:
        return slurm_text(self.board, self.resources, self.remaining.estimate())

    def look(self) -> None:
        watch.status(self.board, self.jobs)

    def retry(self) -> None:
        watch.retry(self.board, self.jobs)

    def collectors(self) -> list[str]:
        known = self.jobs.collectors
        queue = controller.patiently(lambda: controller.queue(known.name))
        there = sorted(known.there(queue).keys() - {me()["job"]})
        return [f"job {job} ({queue[job].state.lower()})" for job in there]

    def cancel(self, whole: bool) -> int:
        return watch.cancel(self.board, self.jobs, whole)

    def detach(self, show: Show, stops: Callable[[], int], arguments: list[str]) -> None:
        controller.heed(stops)
        watch.detach(self.board, self.jobs, show, stops, self.poll, Collector(self.program.main, arguments))

    def parting(self, detached: bool) -> str:
        return watch.parting(self.board, self.jobs, detached)
