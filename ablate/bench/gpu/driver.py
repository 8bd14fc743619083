"""Runs the steps, each in a process of its own within its budget, and keeps the record on disk up to date."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ablate.bench.gpu.report import CUT, FAILED, PASSED, REPORTED, SKIPPED, Report, Skipped, Value
from ablate.bench.gpu.steps import LIMIT, Step
from ablate.store.files import encoded, replace
from ablate.store.version import code_version

FORMAT = 1
RUNNING, INTERRUPTED = "running", "interrupted"  # verdicts of a step that has not ended
GOOD = (PASSED, REPORTED, SKIPPED)
SLACK = 10.0  # seconds after its budget at which a step's process ends by itself, if nobody is there to end it

Message = tuple[str, Any]  # kind, content: ("value", Value as a dict), ("trace", text), ("failed" or "skipped", why)


class Driver:
    """One run of steps. `record` is what the file `out` holds: about the run, and for each step its values so far."""

    def __init__(self, out: Path, device: str, limit: float = LIMIT):
        self.out, self.device, self.limit = out, device, limit
        self.began = time.monotonic()
        self.record: dict[str, Any] = {
            "format": FORMAT,
            "what": "python -m ablate.bench.gpu",
            "code": code_version(),
            "host": platform.node(),
            "device": device,
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": 0.0,
            "complete": False,
            "steps": [],
        }

    def run(self, steps: Sequence[Step]) -> bool:
        """Run the steps and return whether none failed and none ran out of time."""
        for number, step in enumerate(steps, 1):
            began, left = time.monotonic(), self.limit - self._gone()
            self._say(f"step {number} of {len(steps)}, {step.name}: {step.what} ({left:.0f} s left for all)")
            one = {"name": step.name, "verdict": RUNNING, "seconds": 0.0, "budget": step.budget, "values": []}
            self.record["steps"].append(one)
            self._write()
            try:
                one |= self._ended(step, one["values"], min(step.budget, left))
            finally:  # also when somebody interrupts it
                one["verdict"] = INTERRUPTED if one["verdict"] == RUNNING else one["verdict"]
                one["seconds"] = round(time.monotonic() - began, 2)
                self._write()
            self._say(f"{step.name}: {one['verdict']} after {one['seconds']:.1f} s")
        self.record["complete"] = True
        self._write()
        return all(one["verdict"] in GOOD for one in self.record["steps"])

    def _ended(self, step: Step, values: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
        """Run a step, append what it tells to `values`, and return its verdict, with the error if there was one."""
        traces: list[str] = []
        ended: dict[str, Any] = {}
        try:
            for kind, content in messages(step.module, self.device, seconds):
                if kind == "value":
                    values.append(content)
                    self._say(f"  {Value(**content)}")
                elif kind == "trace":
                    traces.append(content)
                else:
                    ended = {"verdict": kind, "error": content}
                self._write()
        except (TimeoutError, ChildProcessError) as error:
            ended = {"verdict": CUT if isinstance(error, TimeoutError) else FAILED, "error": str(error)}
        verdicts = {value["verdict"] for value in values}
        judged = FAILED if FAILED in verdicts else PASSED if PASSED in verdicts else REPORTED
        return {"verdict": judged, **ended, **({"traces": traces} if traces else {})}

    def _gone(self) -> float:
        return time.monotonic() - self.began

    def _write(self) -> None:
        self.record["seconds"] = round(self._gone(), 2)
        replace(self.out, encoded(self.record), durable=False)

    def _say(self, line: str) -> None:
        print(f"[{self._gone():4.0f} s] {line}", file=sys.stderr, flush=True)


def messages(module: str, device: str, seconds: float) -> Iterator[Message]:
    """Run a step in a process of its own and yield what it tells.

    Raises TimeoutError where it takes longer than `seconds`, ChildProcessError where its process dies; afterwards it
    and whatever it started are gone.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])  # loaded once: every further process begins at once
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(theirs, module, device, seconds))
    deadline = time.monotonic() + seconds
    process.start()
    theirs.close()
    try:
        while ours.poll(max(0.0, deadline - time.monotonic())):
            try:
                message = ours.recv()
            except EOFError:
                process.join()
                raise ChildProcessError(f"Its process ended with status {process.exitcode}.") from None
            if message is None:
                return
            yield message
        raise TimeoutError(f"It was ended after {max(0.0, seconds):.0f} s.")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def serve(connection: Connection, module: str, device: str, seconds: float) -> None:
    """The process of one step."""
    os.setsid()  # so that what the step starts ends with it
    os.dup2(2, 1)  # libraries print, and standard output is the table's
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, max(0.0, seconds) + SLACK)
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what asks for the device of this rank is given the CPU, too
    try:
        import torch

        torch.set_num_threads(1)  # what is computed on the CPU is small: threads would only wait for each other
        importlib.import_module(module).run(
            torch.device("cuda:0" if device == "cuda" else "cpu"), Report(connection.send)
        )
    except Skipped as why:
        connection.send((SKIPPED, str(why)))
    except Exception as error:
        connection.send(("trace", traceback.format_exc()))
        connection.send((FAILED, f"{type(error).__name__}: {error}"))
    connection.send(None)
