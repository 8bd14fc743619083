"""Which job runs which stage: a file in each array's log folder.

Before an array is submitted, it is noted together with a mark that its jobs carry as their comment. So if the answer
was lost or the driver died meanwhile, the array is recognised by its mark and taken over, not submitted again.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.store import files
from ablate.store.lock import clock
from ablate.store.record import read_json

NAME, INTENT = "stages.json", "intent.json"
FAILED, BEGUN = 60.0, 300.0  # seconds; sbatch is given less than half of the latter


@dataclass(frozen=True)
class Task:
    """A Slurm task and the stages it runs, in order."""

    job: str
    folder: Path
    """Folder of its logs."""
    stages: tuple[str, ...]
    sweep: str
    throttle: int
    """Maximum number of tasks of its array that run at once."""
    mark: str = ""
    """Its comment; empty if older code submitted it."""

    @property
    def log(self) -> Path:
        """Slurm's own log of the task."""
        return self.folder / f"{self.job}_0_log.err"

    @property
    def noted(self) -> float:
        """When it was noted, by the clock of the file system."""
        return (self.folder / NAME).stat().st_mtime


@dataclass(frozen=True)
class Intent:
    """An array that was to be submitted; it is unknown whether it was."""

    folder: Path
    mark: str
    """Comment of its jobs."""
    tasks: tuple[tuple[str, ...], ...]
    """Stages of each task."""
    about: dict[str, Any]
    """Everything else in its note."""

    def unlikely(self, seconds: float = 0.0) -> bool:
        """Whether Slurm, asked `seconds` ago, would have shown its jobs if it had taken the array: true a minute after
        sbatch failed or, if sbatch may still run, long after it began; by the clock of the file system. Raises OSError.
        """
        age = clock(self.folder) - (self.folder / INTENT).stat().st_mtime - seconds
        return age > (FAILED if self.about.get("failed") else BEGUN)


class Journal:
    """The arrays that I submitted to this cluster, each with a folder in `root`/slurm; `read` adds later ones."""

    def __init__(self, root: Path, cluster: str):
        self.folder, self.whose = Path(root).resolve() / "slurm", (cluster, getpass.getuser())
        self.tasks: dict[str, Task] = {}  # by job id
        self.latest: dict[str, str] = {}  # stage id -> job id
        self.times: dict[str, int] = {}  # stage id -> how often it was submitted
        self._seen: set[str] = set()

    def fresh(self, name: str) -> Path:
        """Choose a folder for the logs of an array."""
        return self.folder / f"{name}.{time.time_ns() // 1000}"

    def intend(self, folder: Path, tasks: list[list[str]], sweep: str, how: dict[str, Any]) -> Intent:
        """Note an array that is about to be submitted, with logs in `folder`; `how` holds everything else about it."""
        about = {"when": time.time(), "cluster": self.whose[0], "user": self.whose[1], "sweep": sweep, **how}
        about["root"] = str(self.folder.parent)
        mark = f"ablate:{secrets.token_hex(8)}"
        folder.mkdir(parents=True, exist_ok=True)
        files.replace(folder / INTENT, json.dumps({**about, "mark": mark, "tasks": tasks}).encode())
        return Intent(folder, mark, tuple(map(tuple, tasks)), about)

    def write(self, intent: Intent, jobs: list[str]) -> None:
        """Note the job ids of an array that was submitted."""
        entry = {**intent.about, "jobs": jobs, "tasks": intent.tasks, "mark": intent.mark}
        files.replace(intent.folder / NAME, json.dumps(entry).encode())
        (intent.folder / INTENT).unlink(missing_ok=True)
        self._seen.add(intent.folder.name)
        self._take(intent.folder, entry)

    def fail(self, intent: Intent) -> None:
        """Note that sbatch ended without saying whether Slurm took the array."""
        about = {**intent.about, "failed": True, "mark": intent.mark, "tasks": intent.tasks}
        files.replace(intent.folder / INTENT, json.dumps(about).encode())

    def drop(self, intent: Intent) -> None:
        """Forget an array that Slurm did not take."""
        (intent.folder / INTENT).unlink(missing_ok=True)

    def read(self) -> None:
        """Read what any command noted since the last call."""
        entries = [(path, read_json(path / NAME)) for path in self._fresh() if (path / NAME).exists()]
        for path, entry in sorted(entries, key=lambda one: (one[0] / NAME).stat().st_mtime):  # clocks of hosts differ
            self._seen.add(path.name)
            if self._mine(entry):
                self._take(path, entry)

    def _mine(self, entry: Mapping[str, Any]) -> bool:
        """Whether I noted this, for this cluster and under this root: a copied root has no jobs."""
        here = entry.get("root", str(self.folder.parent)) == str(self.folder.parent)
        return (entry["cluster"], entry["user"]) == self.whose and here

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Yield whether no other command submits under this root meanwhile; a command that dies releases the lock."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".submitting.lock", "w") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            except OSError:  # a file system without locks
                yield True
            else:
                yield True

    def intents(self) -> list[Intent]:
        """My arrays of which it is unknown whether Slurm has them, the oldest first."""
        open_ = []
        for path in self._fresh():
            try:
                about = json.loads((path / INTENT).read_bytes())
            except FileNotFoundError:  # none, or settled just now
                continue
            if self._mine(about):
                mark, tasks = about.pop("mark"), about.pop("tasks")
                open_.append(Intent(path, mark, tuple(map(tuple, tasks)), about))
        return sorted(open_, key=lambda intent: intent.about["when"])

    def _fresh(self) -> list[Path]:
        """Folders of arrays that were not read yet."""
        if not self.folder.is_dir():
            return []
        fresh = (name for name in os.listdir(self.folder) if name not in self._seen and not name.startswith("."))
        return [self.folder / name for name in fresh]

    def _take(self, folder: Path, entry: dict[str, Any]) -> None:
        for job, stages in zip(entry["jobs"], entry["tasks"]):
            throttle = entry.get("throttle", len(entry["jobs"]))
            self.tasks[job] = Task(job, folder, tuple(stages), entry["sweep"], throttle, entry.get("mark", ""))
            for id in stages:
                self.latest[id] = job
                self.times[id] = self.times.get(id, 0) + 1
