"""Run stages on this machine, in a pool of processes forked from a server that has imported what stages need.

A worker is given only a stage's id and the root; it finds on disk what to do and where to resume.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from ablate.clusters.cluster import Program
from ablate.clusters.pool import AbstractPool, no_folder
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import DONE, ELSEWHERE, FAILED, STOPPED, WAITING, Board
from ablate.errors import UserError
from ablate.store import disk
from ablate.store.child import Said
from ablate.store.pruned import Pruned
from ablate.store.run import Busy, Lost, RunFolder, Stopped

STOPPED_CODE, BUSY_CODE, PRUNED_CODE = 75, 76, 77  # exit statuses of a worker
_LONGEST = 107 - len("/pymp-12345678/listener-12345678")  # bytes: a socket's path, and what stands in it
DISK_CODE = 100  # plus the number of the error, where the run folder could not be written
WORKER_ENVIRONMENT = {
    **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")},
    # glibc then keeps freed memory: otherwise a training step returns all activations to the kernel and faults them in
    # again
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(64 << 20),
}


def warm(preload: str) -> multiprocessing.context.BaseContext:
    """Return the context whose processes fork from a server that has imported this module; start the server."""
    os.environ.update(WORKER_ENVIRONMENT)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([preload])
    if len(place := os.fsencode(tempfile.gettempdir())) > _LONGEST:
        raise UserError(
            f"The folder of temporary files has a path of {len(place)} bytes, and processes can only speak through one "
            f"of at most {_LONGEST}; set TMPDIR to a shorter one (TMPDIR=/tmp)."
        )
    from multiprocessing import forkserver

    # workers inherit the mask: Ctrl-C reaches only the driver, which asks them to stop
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return context


def call(preload: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a module-level function in a worker that has `preload` imported, and return its result; what it raises is
    raised here.

    Raises UserError when the worker died.
    """
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = warm(preload).Process(target=_answer, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        worked, value = receiver.recv()
    except EOFError:
        process.join()
        raise UserError(f"The planning worker died ({exit_text(process.exitcode)}); its messages are above.") from None
    process.join()
    if worked:
        return value
    raise value


def _answer(sender: multiprocessing.connection.Connection, function: Callable[..., Any], arguments: tuple) -> None:
    try:
        with disk.told():
            answer = (True, function(*arguments))
    except UserError as error:
        answer = (False, error)
    except Exception:
        answer = (False, RuntimeError(traceback.format_exc()))
    with contextlib.suppress(BrokenPipeError):  # who asked is gone: Ctrl-C
        sender.send(answer)


def work(program: Program, kind: str, id: str, root: Path, log: str = "out.txt") -> None:
    """Run one stage in a process of its own, with its output in logs/`log`; exits with a status that the pool reads."""
    os.setpgid(0, 0)  # so that processes the stage starts can be killed with it
    log = RunFolder(root, kind, id).path / "logs" / log
    try:
        with disk.forgiven():
            log.parent.mkdir(parents=True, exist_ok=True)
            with open(log, "ab", buffering=0) as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = Said.stream(1), Said.stream(2)
        program.run(id, root)
    except Lost as lost:
        print(lost)
        sys.exit(BUSY_CODE)
    except Stopped:
        sys.exit(STOPPED_CODE)
    except Busy:
        sys.exit(BUSY_CODE)
    except Pruned as lost:
        print(lost)
        sys.exit(PRUNED_CODE)
    except UserError as error:
        print(error)
        sys.exit(1)
    except Exception as error:
        if disk.keeps_from(error, log.parents[1], Path(root)):
            print(disk.sentence(error, log.parents[1]))
            sys.exit(DISK_CODE + error.errno)  # so that the driver can report it: the log may be unwritable
        traceback.print_exc()
        sys.exit(1)


def exit_text(code: int | None, folder: Optional[Path] = None) -> str:
    """Say how a process ended; `folder` is that of the stage it ran, if any."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = "; perhaps the machine ran out of memory" if name == "SIGKILL" else ""
        return f"killed by signal {-code} ({name}{hint})"
    if code is not None and code - DISK_CODE in disk.WHY:
        return no_folder(code - DISK_CODE, folder)
    return "raised an error" if code == 1 else f"ended with exit status {code}"


class Local(AbstractPool):
    """This machine: each stage in a process forked from the server, one worker per core."""

    about = "a pool of workers"
    counts_cores = True

    def __init__(
        self, board: Board, name: str, resources: Resources, program: Program, workers: Optional[int] = None
    ) -> None:
        super().__init__(board, name, resources, program, workers)
        self.processes: dict[str, multiprocessing.process.BaseProcess] = {}

    @cached_property
    def context(self) -> multiprocessing.context.BaseContext:
        """The context that processes are forked from, started when first used."""
        return warm(self.program.preload)

    def start(self, id: str) -> None:
        arguments = (self.program, self.board.stages[id].kind, id, self.board.root)
        process = self.context.Process(target=work, args=arguments, name=id)
        process.start()
        self.processes[id] = process

    def ended(self, seconds: float) -> list[tuple[str, str, str]]:
        multiprocessing.connection.wait([p.sentinel for p in self.processes.values()], seconds)
        ended = []
        for id, process in list(self.processes.items()):
            if process.exitcode is not None:
                del self.processes[id]
                states = {0: DONE, STOPPED_CODE: STOPPED, BUSY_CODE: ELSEWHERE, PRUNED_CODE: WAITING}
                state = states.get(process.exitcode, FAILED)
                why = exit_text(process.exitcode, self.board.folders[id].path) if state == FAILED else ""
                ended.append((id, state, why))
        return ended

    def stop(self, kill: bool) -> None:
        for process in self.processes.values():
            try:
                (os.killpg if kill else os.kill)(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
            except ProcessLookupError:
                process.kill()  # it has no process group of its own yet, or it is gone
