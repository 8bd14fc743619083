"""Which job runs which stage: a file in the folder of every array's logs, written before the next array is
submitted.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from ablate.store import files
from ablate.store.record import read_json

NAME = "stages.json"


@dataclass(frozen=True)
class Task:
    """A Slurm task and the stages it runs, in order."""

    job: str
    folder: Path
    """Where its logs are."""
    stages: tuple[str, ...]
    sweep: str

    @property
    def log(self) -> Path:
        """Slurm's own log of it."""
        return self.folder / f"{self.job}_0_log.err"


class Journal:
    """The arrays that I submitted to this cluster, each with a folder in `root`/slurm; later ones are read
    when asked.
    """

    def __init__(self, root: Path, cluster: str):
        self.folder, self.whose = Path(root).resolve() / "slurm", (cluster, getpass.getuser())
        self.tasks: dict[str, Task] = {}  # by job id
        self.latest: dict[str, str] = {}  # stage id -> job id
        self.times: dict[str, int] = {}  # stage id -> how often it was submitted
        self._seen: set[str] = set()

    def fresh(self, name: str) -> Path:
        """Choose a folder for the logs of an array."""
        return self.folder / f"{name}.{time.time_ns() // 1000}"

    def write(self, folder: Path, jobs: list[str], tasks: list[list[str]], sweep: str) -> None:
        """Note an array whose logs go to `folder`."""
        entry = {
            "when": time.time(),
            "cluster": self.whose[0],
            "user": self.whose[1],
            "sweep": sweep,
            "jobs": jobs,
            "tasks": tasks,
        }
        folder.mkdir(parents=True, exist_ok=True)
        files.replace(folder / NAME, json.dumps(entry).encode())
        self._seen.add(folder.name)
        self._take(folder, entry)

    def read(self) -> None:
        """Take in what was noted since the last call, by whichever command."""
        if not self.folder.is_dir():
            return
        fresh = [self.folder / name for name in os.listdir(self.folder) if name not in self._seen]
        entries = [(path.name, read_json(path / NAME)) for path in fresh if (path / NAME).exists()]
        for name, entry in sorted(entries, key=lambda one: one[1]["when"]):
            self._seen.add(name)
            if (entry["cluster"], entry["user"]) == self.whose:
                self._take(self.folder / name, entry)

    def _take(self, folder: Path, entry: dict) -> None:
        for job, stages in zip(entry["jobs"], entry["tasks"]):
            self.tasks[job] = Task(job, folder, tuple(stages), entry["sweep"])
            for id in stages:
                self.latest[id] = job
                self.times[id] = self.times.get(id, 0) + 1
