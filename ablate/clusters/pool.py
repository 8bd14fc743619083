"""Clusters whose stages end with the command: they start each stage and see how it ended."""

from __future__ import annotations

import errno
import traceback
from abc import abstractmethod
from pathlib import Path
from typing import Optional

from ablate.clusters import failure
from ablate.clusters.cluster import AbstractCluster, Program
from ablate.clusters.schedule import DONE, ELSEWHERE, FAILED, RUNNING, STOPPED, WAITING
from ablate.store import disk
from ablate.store.pruned import Pruned
from ablate.store.run import Busy, Lost, Stopped, find

MOMENT = 0.2  # seconds between two looks


class AbstractPool(AbstractCluster):
    """Runs `workers` stages at a time. A stage that another process runs is waited for, and run here if that process
    gives it up.
    """

    @abstractmethod
    def start(self, id: str) -> None:
        """Start a stage that runs in the background, or run it to its end."""

    @abstractmethod
    def ended(self, seconds: float) -> list[tuple[str, str, str]]:
        """Wait up to `seconds` for a stage to end; return (id, state, why) of those that did, each once. The state is
        DONE; FAILED, with the reason; STOPPED if it was asked to stop; ELSEWHERE if another process runs it; WAITING if
        what it starts from was pruned meanwhile.
        """

    def submit(self) -> None:
        self.board.look()
        for id in self.board.ready()[: self.free]:
            if self.board.folders[id].done:
                self.board.set(id, DONE)
            elif self.board.folders[id].holder() is not None:
                self.board.set(id, ELSEWHERE)
            else:
                self.board.set(id, RUNNING)
                self.start(id)

    def follow(self) -> None:
        for id, state, why in self.ended(MOMENT):
            folder = self.board.folders[id]
            if self.stops() and state != DONE:
                self.board.set(id, STOPPED)
            elif state == WAITING:
                supplied = self.board.supply(id)
                self.board.set(id, WAITING if supplied else FAILED, "" if supplied else failure.LACKING)
            elif state == STOPPED:
                gone = not (folder.path / "identity.json").exists()
                self.board.set(id, FAILED, no_folder(errno.ENOENT) if gone else "asked to stop by somebody else")
            elif state == DONE and not folder.done:
                self.board.set(id, FAILED, "ended without a result")
            else:
                self.board.set(id, state, why)


def no_folder(number: int, folder: Optional[Path] = None) -> str:
    """Say that a stage's `folder` cannot be used, and why; `number` is the error number."""
    elsewhere = number in disk.DENIED and folder is not None and disk.closed(folder) is None
    why = f"{disk.WHY[number]}; its log says for which file" if elsewhere else disk.why(number, folder)
    return f"cannot use its folder: {why}"


def run_here(program: Program, id: str, root: Path) -> tuple[str, str, str]:
    """Run a stage in this thread, to its end; return (id, state, why) as `AbstractPool.ended` does."""
    try:
        program.run(id, root)
    except Lost as lost:
        print(lost)
        return id, ELSEWHERE, ""
    except Busy:
        return id, ELSEWHERE, ""
    except Stopped:
        return id, STOPPED, ""
    except Pruned as lost:
        print(lost)
        return id, WAITING, ""
    except Exception as error:
        folder = run.path if (run := find(root, id)) else Path(root)
        if disk.keeps_from(error, folder, Path(root)):
            return id, FAILED, disk.sentence(error, folder)
        traceback.print_exc()
        return id, FAILED, f"{type(error).__name__}: {error}"
    return id, DONE, ""
