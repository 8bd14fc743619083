"""Shares of the time that was seen: by operation, by line, and of the whole; as tables and as csv."""

from __future__ import annotations

import csv
import linecache
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ablate.bench.watch import BACKWARD, DATA, Frame, Seen, Stack

BETWEEN = "Python between operations"
CODE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Operation:
    """An operation in a phase; times are milliseconds of a unit, without those of operations that it calls."""

    phase: str
    operation: str
    calls: float
    ms: float
    share: float  # of the wall time in torch's profiler
    gpu_ms: float


@dataclass(frozen=True)
class Line:
    """A line of code; times are milliseconds of a unit, those of library functions that it calls included."""

    file: str
    line: int
    function: str
    ms: float
    backward_ms: float  # of the nodes that it made
    share: float  # of the wall time, both together
    source: str


@dataclass(frozen=True)
class Whole:
    """Where the wall time goes: the first three sum to one."""

    operations: float  # inside operations, except those that make data
    python: float
    data: float  # waiting for data, and making it
    phases: dict[str, float]
    slowed: float  # how many times as long a unit takes in torch's profiler
    gpu: float  # share of the wall time in which a GPU computes


def operations(seen: Seen) -> list[Operation]:
    """Operations by phase, the longest first. Shares, with that of Python between operations, sum to one."""
    units, whole = seen.profiled, seen.within
    between = whole - sum(seen.own.values())
    made = [
        Operation(*key, seen.calls[key] / units, 1e3 * own / units, own / whole, 1e3 * seen.device[key] / units)
        for key, own in seen.own.items()
    ]
    made.append(Operation("", BETWEEN, 0, 1e3 * between / units, between / whole, 0))
    return sorted(made, key=lambda one: -max(one.ms, one.gpu_ms))


def spread(seen: Seen) -> Counter[tuple[str, Stack]]:
    """The samples, with the time of the backward pass at the stacks that made its nodes. Their sum stays."""
    known = sum(seen.nodes.values())
    whole = max(seen.backward, known)
    calls = _callers([stack for phase, stack in seen.samples if phase == BACKWARD])
    out: Counter[tuple[str, Stack]] = Counter()
    for (phase, stack), seconds in seen.samples.items():
        if phase != BACKWARD or stack not in calls or not whole:
            out[phase, stack] += seconds
            continue
        for made, own in seen.nodes.items():
            out[BACKWARD, made] += seconds * own / whole
        out[BACKWARD, stack] += seconds * (1 - known / whole)
    return out


def _callers(stacks: Iterable[Stack]) -> set[Stack]:
    """Stacks that call for a backward pass; others go on from one of them, in a backward pass written in Python."""
    found: set[Stack] = set()
    for stack in sorted(stacks, key=len):
        if not any(stack[:n] in found for n in range(len(stack))):
            found.add(stack)
    return found


def lines(seen: Seen) -> list[Line]:
    """Lines of our code, the longest first. Shares sum to one."""
    own: Counter[tuple[Frame, bool]] = Counter()
    for (phase, stack), seconds in spread(seen).items():
        own[stack[-1] if stack else Frame("", "(no line of ours)", 0), phase == BACKWARD] += seconds
    made = []
    for frame in dict.fromkeys(frame for frame, _ in own):
        ms, backward_ms = (1e3 * own[frame, back] / seen.units for back in (False, True))
        share = (own[frame, False] + own[frame, True]) / seen.seconds
        made.append(Line(short(frame.file), frame.line, frame.function, ms, backward_ms, share, source(frame)))
    return sorted(made, key=lambda one: -one.share)


def whole(seen: Seen) -> Whole:
    """Return where the wall time goes."""
    phases: Counter[str] = Counter()
    for (phase, _), seconds in seen.samples.items():
        phases[phase] += seconds / seen.seconds
    inside = sum(own for (phase, _), own in seen.own.items() if phase != DATA) / seen.within
    data = phases[DATA]
    slowed = (seen.within / seen.profiled) / (seen.seconds / seen.units)
    inside = min(inside, 1 - data)
    gpu = sum(seen.device.values()) / seen.within
    return Whole(inside, 1 - data - inside, data, dict(phases.most_common()), slowed, gpu)


def short(file: str) -> str:
    """The path of a file, below the folder of this code if it lies there."""
    return str(Path(file).relative_to(CODE)) if file.startswith(f"{CODE}/") else file


def source(frame: Frame) -> str:
    """The text of the line that a frame is at."""
    return linecache.getline(frame.file, frame.line).strip()


def write(path: Path, rows: Sequence[Operation | Line]) -> None:
    """Write rows as csv."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(rows[0])))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in asdict(row).items()})


def table(rows: Sequence[Operation | Line], top: int) -> str:
    """The first rows as text, and the sum of the others."""
    left, rest = rows[:top], rows[top:]
    if isinstance(rows[0], Operation):
        gpu = any(one.gpu_ms for one in rows)
        head = ["share", "ms", *(["GPU ms"] if gpu else []), "calls", "phase", "operation"]
        cells = [
            [
                f"{o.share:.1%}",
                f"{o.ms:.2f}",
                *([f"{o.gpu_ms:.2f}"] if gpu else []),
                f"{o.calls:.0f}" if o.calls else "",
            ]
            + [o.phase, o.operation]
            for o in left
        ]
    else:
        head = ["share", "ms", "backward ms", "line", "source"]
        cells = [[f"{o.share:.1%}", f"{o.ms:.2f}", f"{o.backward_ms:.2f}", _place(o), o.source[:70]] for o in left]
    if rest:
        cells.append([f"{sum(o.share for o in rest):.1%}", *[""] * (len(head) - 2), f"({len(rest)} more)"])
    widths = [max(map(len, column)) for column in zip(head, *cells)]
    numbers = len(head) - 2
    return "\n".join(
        "  ".join(c.rjust(w) if i < numbers else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()
        for row in (head, *cells)
    )


def _place(one: Line) -> str:
    return f"{one.file}:{one.line}" if one.file else one.function
