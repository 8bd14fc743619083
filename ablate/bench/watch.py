"""Watches units of work (updates, or batches of scoring): where their time goes, by operation and by line.

Each unit is looked at in one way, so that no way disturbs another: its floating-point operations are counted; it warms
up; a thread samples the Python stack (`sampled`); torch's profiler notes operations (`profiled`); or it notes nodes of
the backward pass, and which line of the forward pass made them (`attributed`).

The sampling thread asks for the interpreter every 2 ms on average, at random, and gets it within .1 ms. With Python's
default of 5 ms it would get it only where an operation lets go of it, and Python's own time would count as that
operation's: in a loop with a known truth, .08 was seen of .31 by default, .29 of .28 so. Timer signals move the time of
`a @ b` to a later line. Units are alike: with a fixed beat the first samples would fall on the same line in each.
"""

from __future__ import annotations

import contextlib
import random
import sys
import sysconfig
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile, record_function

from ablate.bench import measure

INTERVAL, SWITCH = 2e-3, 1e-4  # seconds between samples; seconds until a running thread lets go of the interpreter
MARK = "ablate: "  # begins the name of a range of torch's profiler that is a phase
NODE = "autograd::engine::evaluate_function: "
OTHER, DATA, BACKWARD = "other", "data", "backward"
COUNTED, WARM, PROFILED, ATTRIBUTED = 1, 3, 3, 2  # units
HERE = str(Path(__file__).parent)
LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
PACKAGES = ("ablate", "encoders", "objectives", "analysis")


class Enough(Exception):
    """All units were watched."""


class Frame(NamedTuple):
    """A function that runs, and the line that it is at."""

    file: str
    function: str
    line: int


Stack = tuple[Frame, ...]  # the outermost first; functions of libraries, and those that watch, are left out


@dataclass
class Seen:
    """What was seen; times are in seconds, summed over the units that were looked at in that way."""

    units: int = 0
    """Units that were sampled, and their wall time."""
    seconds: float = 0.0
    samples: Counter[tuple[str, Stack]] = field(default_factory=Counter)
    """Wall time by phase and stack; sums to `seconds`."""
    profiled: int = 0
    """Units in torch's profiler, and their wall time there."""
    within: float = 0.0
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Calls by phase and operation; their own time, without that of operations that they call; and on a GPU."""
    own: Counter[tuple[str, str]] = field(default_factory=Counter)
    device: Counter[tuple[str, str]] = field(default_factory=Counter)
    nodes: Counter[Stack] = field(default_factory=Counter)
    """Time of the backward pass by the stack that made its nodes; and its whole time. Nodes that are written in Python
    are left out of both: their lines are sampled."""
    backward: float = 0.0
    flops: float = 0.0
    """Floating-point operations of a unit."""


class Watch:
    """Looks at units one after the other: call `begin` and `end` around each; `done` is how many there were."""

    def __init__(self, sampled: int) -> None:
        self.seen, self.main, self.phase, self._marking = Seen(), threading.get_ident(), OTHER, False
        self._ways = [self._counting] * COUNTED + [contextlib.nullcontext] * WARM + [self._sampling] * sampled
        self._ways += [self._profiling] * PROFILED + [self._attributing] * ATTRIBUTED
        self.done, self._begun, self._open = 0, False, contextlib.ExitStack()
        self.precision, self._random = "fp32", random.Random(0)

    def begin(self) -> None:
        """Begin a unit, if none has begun."""
        if not self._begun:
            self._begun = True
            self._open.enter_context(self._ways[self.done]())

    def end(self) -> None:
        """End the unit, if one has begun. Raises Enough."""
        if self._begun:
            self._begun = False
            self._open.close()
            self.done += 1
            if self.done == len(self._ways):
                raise Enough

    def drop(self) -> None:
        """Forget the unit that has begun: it was not whole."""
        kept, self.seen, self._begun = self.seen, Seen(), False
        self._open.close()
        self.seen = kept

    @contextlib.contextmanager
    def phases(self, functions: Sequence[tuple[Any, str, str]]) -> Iterator[None]:
        """Within this block time in these functions, each (owner, name, phase), counts as a phase's."""
        before = [(owner, name, owner.__dict__[name]) for owner, name, _ in functions]
        try:
            for owner, name, phase in functions:
                setattr(owner, name, self.marked(getattr(owner, name), phase))
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)

    def marked(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """Return the function, whose time counts as a phase's."""

        def marked(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != self.main:  # of a thread that makes data beside
                return function(*arguments, **named)
            before, self.phase = self.phase, phase
            try:
                with record_function(MARK + phase) if self._marking else contextlib.nullcontext():
                    return function(*arguments, **named)
            finally:
                self.phase = before

        return marked

    @contextlib.contextmanager
    def _counting(self) -> Iterator[None]:
        with measure.counting() as counter:
            yield
        self.seen.flops += counter.get_total_flops() / COUNTED

    @contextlib.contextmanager
    def _sampling(self) -> Iterator[None]:
        over, before = threading.Event(), sys.getswitchinterval()
        samples: Counter[tuple[str, Stack]] = Counter()
        seen: list[tuple[str, Stack]] = []
        began = last = time.perf_counter()

        def sample() -> None:
            nonlocal last
            while not over.wait(self._random.uniform(0, 2 * INTERVAL)):
                now = (self.phase, stack(sys._current_frames()[self.main]))
                if over.is_set():
                    return
                late = time.perf_counter()
                for one in (seen[-1], now) if seen else (now, now):  # half of what lies between two samples is each's
                    samples[one] += (late - last) / 2
                seen[:], last = [now], late

        thread = threading.Thread(target=sample, daemon=True)
        sys.setswitchinterval(SWITCH)
        try:
            thread.start()
            yield
        finally:
            ended = time.perf_counter()
            over.set()
            thread.join()
            sys.setswitchinterval(before)
        samples[seen[-1] if seen else (OTHER, ())] += max(0.0, ended - last)
        self.seen.samples.update(samples)
        self.seen.units += 1
        self.seen.seconds += ended - began

    @contextlib.contextmanager
    def _profiling(self) -> Iterator[None]:
        with self._events() as events:
            began = time.perf_counter()
            yield
            seconds = time.perf_counter() - began
        self.seen.profiled += 1
        self.seen.within += seconds
        for event, phase in events:
            if event.is_user_annotation:
                continue
            key = phase, "the engine of autograd" if event.name.startswith(NODE) else event.name
            self.seen.calls[key] += 1
            self.seen.own[key] += event.self_cpu_time_total / 1e6
            self.seen.device[key] += event.self_device_time_total / 1e6

    @contextlib.contextmanager
    def _attributing(self) -> Iterator[None]:
        made: dict[int, Stack] = {}
        with self._events() as events, _Maker(made):
            yield
        for event, _ in events:
            if event.name == MARK + BACKWARD:
                self.seen.backward += event.cpu_time_total / 1e6
            elif event.name.startswith(NODE):
                name, seconds = event.name.removeprefix(NODE).rpartition("::")[2], event.cpu_time_total / 1e6
                if name.endswith("Backward"):  # torch's own end in numbers
                    self.seen.backward -= seconds
                else:
                    of = made.get(event.sequence_nr) or (Frame("", f"{name} (of no line)", 0),)
                    self.seen.nodes[of] += seconds

    @contextlib.contextmanager
    def _events(self) -> Iterator[list[tuple[Any, str]]]:
        """Within this block torch's profiler runs; afterwards the list has its events of this thread, with phases."""
        events: list[tuple[Any, str]] = []
        cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
        with profile(activities=[ProfilerActivity.CPU, *cuda], acc_events=True) as profiler:
            self._marking = True
            try:
                yield events
            finally:
                self._marking = False
        phases: dict[int, str] = {}

        def phase(event: Any) -> str:
            if event is None:
                return OTHER
            if id(event) not in phases:
                own = event.name.removeprefix(MARK) if event.name.startswith(MARK) else ""
                phases[id(event)] = own or phase(event.cpu_parent)
            return phases[id(event)]

        here = [one for one in profiler.events() if one.device_type.name == "CPU"]
        events += [(one, phase(one)) for one in here]


class _Maker(TorchFunctionMode):
    """Notes the stack that made each node of the backward pass, by its sequence number."""

    def __init__(self, made: dict[int, Stack]) -> None:
        super().__init__()
        self.made, self.apply = made, torch.autograd.Function.__dict__["apply"]

    def __enter__(self) -> _Maker:
        maker, apply = self, self.apply

        def applied(cls: type, *arguments: Any, **named: Any) -> Any:
            return maker._noted(lambda: apply.__get__(None, cls)(*arguments, **named))

        torch.autograd.Function.apply = classmethod(applied)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.autograd.Function.apply = self.apply

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._noted(lambda: func(*args, **(kwargs or {})))

    def _noted(self, call: Callable[[], Any]) -> Any:
        before = torch._C._autograd._get_sequence_nr()
        out = call()
        after = torch._C._autograd._get_sequence_nr()
        if new := [number for number in range(before, after) if number not in self.made]:
            self.made.update(dict.fromkeys(new, stack(sys._getframe())))
        return out


def stack(frame: FrameType | None) -> Stack:
    """The functions of our code, plugins included, that lead to a frame."""
    frames = []
    while frame is not None:
        code = frame.f_code
        if code is UNIT:
            break
        if _ours(code.co_filename, frame.f_globals.get("__name__", "").partition(".")[0]):
            frames.append(Frame(code.co_filename, code.co_qualname, frame.f_lineno))
        frame = frame.f_back
    return tuple(reversed(frames))


@cache
def _ours(file: str, package: str) -> bool:
    if file.startswith(HERE):
        return False
    return package in PACKAGES or not file.startswith(("<", *LIBRARIES))


def unit(work: Callable[[], Any]) -> Any:
    """Call `work`; stacks begin below it."""
    return work()


UNIT = unit.__code__
