"""A run folder: claim it, log to it, checkpoint into it, finish it. Standard library only.

`result.json` is written last and its existence is completion. While a process works on a stage it holds
`claim.json` (who, since when, how far); every other file is written beside and renamed, so a kill at any moment
leaves either the old file or the new one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ablate.claim import alive, create, me, read_claim, read_claim_file
from ablate.machine import machine
from ablate.record import read_json, read_jsonl, run_path
from ablate.version import code_version, keep_patch

BEAT_SECONDS = 15.0  # how often a claim shows life while nothing reports progress


class Stopped(Exception):
    """The stage was asked to stop and has saved what it needs to go on."""


class Busy(Exception):
    """Another live process holds the stage's claim."""


class RunFolder:
    """The folder of one stage under `root`; hold it with `with run.claim(): ...` before writing to it.

    Of several processes that work on a stage together, those with a `rank` above 0 write nothing.
    """

    def __init__(self, root: Path, kind: str, id: str, rank: int = 0):
        self.root, self.rank = Path(root), rank
        self.path = run_path(self.root, kind, id)
        self.kind, self.id = kind, id
        self._claim: Optional[dict[str, Any]] = None
        self._stop = threading.Event()  # set by signals, by a lost claim, and by the loss of the driver
        self._metrics = None
        self._reported = self._looked = 0.0
        self._handlers: dict[int, Any] = {}

    # What is there ----------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        """Whether the stage is complete."""
        return (self.path / "result.json").exists()

    def result(self) -> dict[str, Any]:
        """Return the stage's result. Raises FileNotFoundError when it is not complete."""
        return read_json(self.path / "result.json")

    def identity(self) -> dict[str, Any]:
        """Return what the stage is: kind, version, config, parents, id, title."""
        return read_json(self.path / "identity.json")

    def holder(self) -> Optional[dict[str, Any]]:
        """Return the claim of the live process working on this stage, or None."""
        claim = read_claim(self.path)
        return claim if claim is not None and alive(claim) else None

    @property
    def spares_memory(self) -> bool:
        """Whether to trade time for memory, because an attempt ran out of it. Results do not depend on it."""
        return (self.path / "spare_memory.json").exists()

    def spare_memory(self, why: str) -> None:
        """Have further attempts trade time for memory."""
        self.write_json("spare_memory.json", {"why": why})

    # Holding it -------------------------------------------------------------------------------------------------

    def claim(self) -> RunFolder:
        """Become the only process that works on this stage; use as a context manager, which gives it up at the end.

        A claim whose process is dead is taken over. SIGTERM and SIGINT then ask the stage to stop (see `stopping`).
        Raises Busy when a live process holds the stage.
        """
        if self.rank:
            self._handle()
            return self
        (self.path / "logs").mkdir(parents=True, exist_ok=True)
        claim = {**me(), "token": uuid.uuid4().hex, "began": time.time(), "step": 0, "steps": 0}
        target = self.path / "claim.json"
        while not create(target, claim):
            self._bury(target)
        self._claim = claim
        for torn in self.path.glob(".*.part"):  # left by a writer that was killed
            torn.unlink(missing_ok=True)
        code = "".join(f"{name} {value}\n" for name, value in code_version().items())
        _replace(self.path / "code.txt", code.encode())
        keep_patch(self.root)
        self._handle()
        threading.Thread(target=self._beat, args=(claim["token"],), daemon=True).start()
        return self

    def _handle(self) -> None:
        """Take signals as requests to stop."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, lambda *_: self._stop.set())

    def _bury(self, target: Path) -> None:
        """Move a dead claim away and note its attempt. Raises Busy when it is alive."""
        seen = read_claim(self.path)
        if seen is None:
            return  # given up meanwhile
        if alive(seen):
            raise Busy(f"{self.kind} {self.id} is being run by process {seen.get('pid')} on {seen.get('host')}.")
        moved = target.with_name(f".claim.{uuid.uuid4().hex}.dead")
        try:
            os.rename(target, moved)  # of several that try, one gets it
        except FileNotFoundError:
            return
        taken = read_claim_file(moved)
        if taken is not None and taken["token"] != seen["token"]:  # somebody else buried it first and claimed: put back
            create(target, taken)
        else:
            self._attempt(seen, ended=seen["seen"], outcome="lost")
        moved.unlink(missing_ok=True)

    def release(self, outcome: str) -> None:
        """Give the claim up, noting how the attempt ended ("done", "stopped", "failed"); nothing if not held."""
        claim, self._claim = self._claim, None
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        if claim is not None and self._holds(claim["token"]):
            self._attempt(claim, ended=time.time(), outcome=outcome)
            (self.path / "claim.json").unlink(missing_ok=True)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, kind, error, trace) -> None:
        stopped = kind is not None and issubclass(kind, (Stopped, KeyboardInterrupt, SystemExit))
        self.release("stopped" if stopped else "failed" if kind else "done" if self.done else "left")

    def _attempt(self, claim: Mapping[str, Any], ended: float, outcome: str) -> None:
        line = {k: claim.get(k) for k in ("host", "pid", "job", "began")}
        line |= {"ended": ended, "outcome": outcome, "code": code_version()}
        with _open_append(self.path / "attempts.jsonl") as file:
            file.write(json.dumps(line).encode() + b"\n")

    def _holds(self, token: str) -> bool:
        claim = read_claim(self.path)
        return claim is not None and claim.get("token") == token

    def _beat(self, token: str) -> None:
        while not self._stop.wait(BEAT_SECONDS) and self._claim is not None and self._claim["token"] == token:
            if not self._holds(token):
                self._stop.set()
            else:
                os.utime(self.path / "claim.json")

    @property
    def stopping(self) -> bool:
        """Whether to save and stop: after SIGTERM or SIGINT, when the driver is gone, or when the claim was lost."""
        now = time.monotonic()
        if now - self._looked > 0.5:
            self._looked = now
            driver = multiprocessing.parent_process()
            if driver is not None and not driver.is_alive():
                self._stop.set()
        return self._stop.is_set()

    def check(self) -> None:
        """Raise Stopped if stopping. Call it right after saving a checkpoint."""
        if self.stopping:
            raise Stopped(f"{self.kind} {self.id} was asked to stop.")

    # Writing ----------------------------------------------------------------------------------------------------

    def progress(self, step: int, steps: int, **fields: Any) -> None:
        """Tell watchers how far the stage is, with fields such as loss, rate, unit, note; at most once a second."""
        now = time.monotonic()
        if self._claim is None or now - self._reported < 1.0:
            return
        self._reported = now
        if not self._holds(self._claim["token"]):
            self.path.stat()  # raises when the folder is gone
            self._stop.set()  # somebody took this stage for dead and runs it now
            return
        self._claim |= {"step": step, "steps": steps, **fields}
        _replace(self.path / "claim.json", json.dumps(self._claim).encode(), durable=False)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append a line of metrics at `step` to metrics.jsonl."""
        if self.rank:
            return
        if self._metrics is None:
            self._metrics = _open_append(self.path / "metrics.jsonl")
        self._metrics.write(json.dumps({"step": step, **metrics}).encode() + b"\n")
        self._metrics.flush()

    def truncate(self, step: int) -> None:
        """Drop the logged lines of later steps: a resumed run writes them again."""
        if self.rank:
            return
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        kept = [line for line in read_jsonl(self.path / "metrics.jsonl") if line["step"] <= step]
        self.write_bytes("metrics.jsonl", b"".join(json.dumps(line).encode() + b"\n" for line in kept))

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file, whole or not at all."""
        self.write_bytes(name, json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write a file, whole or not at all, and make sure it is on disk."""
        if self.rank:
            return
        folder = (self.path / name).parent
        if folder != self.path or self._claim is None:  # while it is held, a folder that somebody removed stays removed
            folder.mkdir(parents=True, exist_ok=True)
        _replace(self.path / name, data)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Complete the stage with `result`, adding wall-clock seconds over all attempts, the code's version and when."""
        if self.rank:
            return
        now = time.time()
        earlier = list(read_jsonl(self.path / "attempts.jsonl"))
        began = self._claim["began"] if self._claim is not None else now
        seconds = now - began + sum(max(0.0, a["ended"] - a["began"]) for a in earlier)
        ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        extra = {"seconds": round(seconds, 3), "attempts": len(earlier) + 1, "code": code_version(), "ended": ended,
                 "machine": machine()}  # fmt: skip
        self.write_json("result.json", {**result, **extra})
        self.release("done")


def _open_append(path: Path):
    """Open a JSON-lines file at its end, without the torn line a crash may have left."""
    file = open(path, "ab")
    data = path.read_bytes()
    file.truncate(data.rfind(b"\n") + 1)
    return file


def _replace(path: Path, data: bytes, durable: bool = True) -> None:
    """Write beside and rename; `durable` also waits for the disk."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with open(beside, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        synced(path.parent)


def synced(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
