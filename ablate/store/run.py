"""A run folder: its lock, its log, its checkpoints and its result. Standard library only.

`result.json` is created last and once; the stage is complete when it exists. A process that works on a stage holds
`claim.json`, and writes into a folder named by the lock's token (see `ablate.store.attempt`), so a process that lost
its lock writes nothing that is read. Every file is written to a temporary file and renamed. A kill at any moment leaves
either the old file or the new one.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

from ablate.store import attempt, disk, files, pruned
from ablate.store.files import linked, open_append, replace, synced
from ablate.store.lock import ASIDE, BEAT_SECONDS, PROGRESS, alive, create, held, me, read_lock, take
from ablate.store.record import FORMAT, files_of, read_json, read_jsonl, read_result, run_path
from ablate.store.room import Room
from ablate.store.version import code_version, keep_patch

RESULT = ".result.part"  # becomes result.json; in the attempt's folder, so that it goes when that is renamed


class Stopped(Exception):
    """The stage was asked to stop, and has saved what it needs to continue."""


class Lost(Stopped):
    """Another process took the stage over, or finished it; this one writes nothing more."""


class Busy(Exception):
    """Another live process holds the stage's lock."""


class RunFolder:
    """The folder of one stage under `root`. Hold its lock, with `with run.lock(): ...`, before writing to it.

    If several processes work on a stage together, those with a `rank` above 0 write nothing.
    """

    def __init__(self, root: Path, kind: str, id: str, rank: int = 0):
        self.root, self.rank = Path(root), rank
        self.path = run_path(self.root, kind, id)
        self.kind, self.id = kind, id
        self._lock: Optional[dict[str, Any]] = None
        self._token = ""  # the lock's, on every rank; empty without a lock
        self._stop = threading.Event()  # set by signals, and when the lock or the driver is lost
        self._metrics = None
        self._unwritten = bytearray()  # lines of metrics that await space on the disk
        self._fields: dict[str, Any] = {}  # the last report of progress
        self._reported = self._looked = self._held = self._locked = 0.0
        self._room = Room(self.path, lambda: self.stopping, self._waits)
        self._handlers: dict[int, Any] = {}

    @property
    def done(self) -> bool:
        """Whether the stage is complete, and not being made again after pruning."""
        return pruned.complete(self.path)

    def result(self) -> dict[str, Any]:
        """Return the stage's result. Raises FileNotFoundError if there is none, and UserError as `read_result` does."""
        if (result := read_result(self.path)) is None:
            raise FileNotFoundError(self.path / "result.json")
        return result

    @property
    def files(self) -> Path:
        """Folder of the stage's files: this attempt's while the stage is locked, else the one that the result names."""
        if self._token:
            return self.path / self._token
        return files_of(self.path, self.result() if self.done else None)

    def checked(self, name: str) -> Path:
        """Return the path of a file of this finished stage. Raises UserError if it differs from its record."""
        return attempt.named(self.path, self.result(), name)

    def sound(self) -> Path:
        """Return the folder of this finished stage's files. Raises UserError if one differs from its record.

        See `attempt.sound` for what is compared.
        """
        return attempt.sound(self.path, self.result())

    def identity(self) -> dict[str, Any]:
        """Return what the stage is: kind, version, config, parents, id, title."""
        return read_json(self.path / "identity.json")

    def holder(self) -> Optional[dict[str, Any]]:
        """Return the lock of the live process that works on this stage, or None."""
        lock = read_lock(self.path)
        return lock if lock is not None and alive(lock) else None

    @property
    def spares_memory(self) -> bool:
        """Whether to trade time for memory, because an attempt ran out of it. Results do not change."""
        return (self.path / "spare_memory.json").exists()

    def spare_memory(self, why: str) -> None:
        """Make further attempts trade time for memory, because of `why`."""
        self.note("spare_memory.json", {"why": why})

    def lock(self, token: str = "") -> RunFolder:
        """Become the only process that works on this stage. Use it as a context manager, which releases the lock.

        A dead process's lock is taken over, with what it saved. While the lock is held, SIGTERM and SIGINT ask the
        stage to stop (see `stopping`). Ranks above 0 get the `token` of the first rank's lock. Waits while the disk is
        full. The stage may be done already when the lock is taken. Raises Busy if a live process holds the stage.
        """
        if self.rank:
            self._token = token
            self._handle()
            return self
        self.patiently(lambda: None, disk.LEAST)
        (self.path / "logs").mkdir(parents=True, exist_ok=True)
        lock = {**me(), "token": attempt.new_token(), "began": time.time()}
        while not create(self.path / "claim.json", lock):
            self.bury()
        self._lock, self._token, self._room.waited = lock, lock["token"], 0.0
        self._locked = time.monotonic()
        try:
            self.files.mkdir()
            self._report(step=0, steps=0)
            self.patiently(lambda: attempt.settle(self.path, self._token))
            self.hold()
            attempt.clear(self.path)
            code = "".join(f"{name} {value}\n" for name, value in code_version().items())
            replace(self.path / "code.txt", code.encode())
            keep_patch(self.root)
        except BaseException:  # such as Lost: a lock without work would keep others out
            self.release("failed")
            raise
        self._handle()
        threading.Thread(target=self._beat, args=(self._token,), daemon=True).start()
        return self

    def _handle(self) -> None:
        """Treat signals as requests to stop."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, lambda *_: self._stop.set())

    def bury(self) -> None:
        """Remove a dead lock and record the end of its attempt, if it was one. Raises Busy if its process is alive."""
        seen = read_lock(self.path)
        if seen is None:
            return  # released meanwhile
        if alive(seen):
            raise Busy(f"{self.kind} {self.id} is being run by process {seen.get('pid')} on {seen.get('host')}.")
        if take(self.path, seen["token"]) and not seen.get(ASIDE):
            attempt.ended(self.path, {**seen, "began": seen["made"]}, seen["seen"], "lost")  # by the disk's clock

    @contextlib.contextmanager
    def aside(self) -> Iterator[str]:
        """Hold the lock within this context without attempting the stage, and yield its token.

        Raises Busy if a live process holds it, and FileNotFoundError if the folder does not exist.
        """
        lock = {**me(), "token": attempt.new_token(), "began": time.time(), ASIDE: True}
        while not create(self.path / "claim.json", lock):
            seen = read_lock(self.path)
            if seen is not None and seen["pid"] is None and alive(seen):
                time.sleep(0.1)  # half-written: it is complete, or counts as dead, within seconds
            else:
                self.bury()
        try:
            yield lock["token"]
        finally:
            take(self.path, lock["token"])

    def release(self, outcome: str) -> None:
        """Release the lock and record how the attempt ended ("done", "stopped", "failed", "left").

        Does nothing if the lock is not held.
        """
        lock, self._lock = self._lock, None
        own, self._token = self.path / self._token, ""
        self._close()
        if lock is not None:
            if held(self.path, lock["token"]):
                try:
                    with disk.forgiven():
                        attempt.ended(self.path, lock, time.time(), outcome, self.held_up)
                finally:
                    take(self.path, lock["token"])
            if self.done and self.files != own:  # else the next attempt may still use the files
                shutil.rmtree(own, ignore_errors=True)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind, error, trace) -> None:
        stopped = kind is not None and issubclass(kind, (Stopped, KeyboardInterrupt, SystemExit))
        self.release("stopped" if stopped else "failed" if kind else "done" if self.done else "left")

    def _beat(self, token: str) -> None:
        while not self._stop.wait(BEAT_SECONDS) and self._token == token:
            with contextlib.suppress(OSError):  # renamed just now, or the disk fails: the next write raises it
                if held(self.path, token):
                    os.utime(self.path / token / PROGRESS)
                else:
                    self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether to save and stop: after SIGTERM or SIGINT, or when the driver has ended or the lock is lost."""
        now = time.monotonic()
        if now - self._looked > 0.5:
            self._looked = now
            driver = multiprocessing.parent_process()
            if driver is not None and not driver.is_alive():
                self._stop.set()
        return self._stop.is_set()

    def check(self) -> None:
        """Raise Stopped if the stage is to stop. Call it right after saving a checkpoint."""
        if self.stopping:
            self.hold()
            raise Stopped(f"{self.kind} {self.id} was asked to stop.")

    def hold(self) -> None:
        """Check that this process still holds the lock.

        Raises Lost if another process holds it or completed the stage, Stopped if the lock was removed, and
        FileNotFoundError if the run folder was.
        """
        if self.rank or (self._lock is not None and held(self.path, self._token)):
            return
        self.path.stat()
        lock = read_lock(self.path)
        if lock is None and not self.done:
            raise Stopped(f"The lock of {self.kind} {self.id} was removed; what was not saved before is dropped.")
        by = "somebody else finished it" if lock is None else f"process {lock.get('pid')} on {lock.get('host')} runs it"
        raise Lost(f"{self.kind} {self.id} was taken over: {by}; what this process did not save before is dropped.")

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """Yield the attempt's folder for writing within this context.

        Raises Lost if the lock is not held (see `hold`), or if it was lost meanwhile and writing failed.
        """
        self.hold()
        try:
            yield self.files
        except OSError:
            self.hold()
            raise

    def tried(self, write: Callable[[], None], needed: float = 0.0) -> bool:
        """Call `write`, which writes `needed` bytes; return False if the disk is full, after some seconds of waiting.

        Returns False as well if the disk has no space for earlier log lines. Then call it again; a wait ends early when
        the stage is asked to stop. Raises OSError if the disk can never hold that much, and any other error of `write`.
        On ranks above 0 it does nothing and returns True.
        """

        def all_() -> None:
            self._drain()
            write()

        return bool(self.rank) or self._room.tried(all_, needed)

    def patiently(self, write: Callable[[], None], needed: float = 0.0) -> None:
        """Call `write` until the disk has space for it (see `tried`). Raises Stopped if asked to stop meanwhile."""
        while not self.tried(write, needed):
            if self.stopping:
                raise self.crowded()

    def crowded(self) -> Stopped:
        """Return the exception for being asked to stop while waiting for space."""
        return Stopped(f"{self.kind} {self.id} was asked to stop while it waited for room on the disk.")

    @property
    def held_up(self) -> float:
        """Seconds for which this attempt waited for space on the disk."""
        return self._room.waited

    def _waits(self, why: str) -> None:
        """Report to watchers that the stage waits for space. Raises Lost."""
        if self._lock is not None:
            self.hold()
            self._report(**{**self._fields, "note": f"waits for room: {why}"})

    def progress(self, step: int, steps: int, **fields: Any) -> None:
        """Report progress to watchers, at most once a second, with fields such as loss, rate, unit, note.

        `first` is the step at which this attempt began, if not 0. The seconds that it has run for ("spent") are added;
        time in which the machine was suspended, or waited for space on the disk, does not count.
        """
        now = time.monotonic()
        if self._lock is None or now - self._reported < 1.0:
            return
        self._reported = now
        try:
            with self.writing():
                spent = round(now - self._locked - self.held_up, 3)
                self._report(step=step, steps=steps, spent=spent, **fields)
        except Stopped:
            self._stop.set()  # the stage ends when it next saves

    def _report(self, **fields: Any) -> None:
        self._fields = fields
        path, data = self.files / PROGRESS, json.dumps(fields).encode()
        try:
            replace(path, data, durable=False)
        except OSError as error:
            if not (disk.passes(error) and path.exists()):
                raise
            with disk.forgiven(), open(path, "r+b") as file:  # overwriting takes no more space
                file.write(data)
                file.truncate()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a line of metrics at `step` to metrics.jsonl. If the disk is full, it is written later."""
        if self.rank:
            return
        now = time.monotonic()
        if self._metrics is not None and now - self._held > 1.0:
            self._held = now
            if not held(self.path, self._token):
                self._stop.set()
        self._unwritten += json.dumps({"step": step, **metrics}).encode() + b"\n"
        with disk.forgiven():
            self._drain()

    def _drain(self) -> None:
        """Write the log lines that are not yet on the disk."""
        if self._unwritten and self._metrics is None:
            with self.writing() as folder:
                self._metrics = open_append(folder / "metrics.jsonl")
        while self._unwritten:
            del self._unwritten[: self._metrics.raw.write(self._unwritten)]

    def _close(self) -> None:
        if self._metrics is not None:
            with contextlib.suppress(OSError):
                self._drain()
            self._metrics.close()
            self._metrics = None
        self._unwritten.clear()

    def truncate(self, step: int) -> None:
        """Remove logged lines of later steps, as a resumed run writes them again."""
        if self.rank:
            return
        self._close()
        kept = [line for line in read_jsonl(self.files / "metrics.jsonl") if line["step"] <= step]
        self.write_bytes("metrics.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in kept))

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of this attempt, whole or not at all. Raises as `write_bytes` does."""
        self.write_bytes(name, files.encoded(value))

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file of this attempt, whole or not at all, and sync it to the disk. Waits while the disk is full.

        Raises Lost, and Stopped if asked to stop while waiting.
        """
        if self.rank:
            return

        def write() -> None:
            with self.writing() as folder:
                if (folder / name).parent != folder:  # an attempt's folder that was removed stays removed
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                replace(folder / name, data)

        self.patiently(write, len(data))

    def note(self, name: str, value: Any) -> None:
        """Write a JSON file about the stage into the run folder; no lock is needed."""
        if self._lock is None:
            self.path.mkdir(parents=True, exist_ok=True)
        replace(self.path / name, files.encoded(value))

    def finish(self, result: Mapping[str, Any]) -> None:
        """Complete the stage with `result`.

        Adds its files, wall-clock seconds over all attempts, the code's version and the time. Raises Lost if the lock
        is not held or another process completed the stage, whose result then stays.
        """
        if self.rank:
            return
        self.patiently(self._drain)
        self._close()
        with self.writing() as folder:
            facts = attempt.facts(folder)
            for name in facts:
                synced(folder / name)  # appended files are not synced yet
            extra = attempt.circumstances(self.path, self._lock, self.held_up)
            record = files.encoded({"format": FORMAT, **result, **extra, "attempt": self._token, "files": facts})
            self.patiently(lambda: replace(folder / RESULT, record))
            self.hold()
            if pruned.reopened(self.path):  # safe: a takeover would have renamed the source's folder
                self.patiently(lambda: os.replace(folder / RESULT, self.path / "result.json"))
            else:
                with contextlib.suppress(FileExistsError):
                    self.patiently(lambda: linked(folder / RESULT, self.path / "result.json"))
            synced(self.path)
            if self.result().get("attempt") != self._token:
                raise Lost(f"{self.kind} {self.id} was finished by somebody else meanwhile; this attempt is dropped.")
            for left in (folder / RESULT, folder / PROGRESS, self.path / pruned.NAME):
                left.unlink(missing_ok=True)
        attempt.settle(self.path, self._token)
        self.release("done")

    def tidy(self) -> None:
        """Remove what other attempts left in the folder of a finished stage."""
        if self.done and not self.rank:
            attempt.settle(self.path)


def find(root: Path, id: str) -> Optional[RunFolder]:
    """Return the folder of a stage of any kind; None if it was never planned under this root. Copies do not count."""
    for path in sorted(Path(root).glob(f"*/{id[:2]}/{id}/identity.json")):
        kind = path.parents[2].name
        if read_json(path)["kind"] == kind:
            return RunFolder(root, kind, id)
    return None
