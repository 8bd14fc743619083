"""Measure systems under equal conditions: one process each, taking turns, so that all see the same machine."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from ablate.bench.catalogue import SYSTEMS, System
from ablate.bench.items import WORKLOADS
from ablate.clusters.local import WORKER_ENVIRONMENT

THREADS = {name: value for name, value in WORKER_ENVIRONMENT.items() if name.endswith("_NUM_THREADS")}
GEMM = 1024  # rows, columns and depth of the matrix product whose speed is called the peak


@dataclass
class Measured:
    """Measurements of a system for one order of batches; one value per round."""

    name: str
    order: str  # "packed", "unsorted" or "bucketed"
    rates: list[float] = field(default_factory=list)  # units of the workload per second
    shares: list[float] = field(default_factory=list)  # of the GEMM peak, of the same process and round
    memory: float = 0.0  # peak resident GB, interpreter and libraries included


def missing(workload: str) -> list[System]:
    """The peers that are not installed."""
    return [s for s in SYSTEMS[workload] if s.needs and importlib.util.find_spec(s.needs) is None]


def compare(workload: str, shape: str, rounds: int, only: Sequence[str] = ()) -> list[Measured]:
    """Run every installed system `rounds` times over all items, in turns; progress goes to standard error."""
    absent = missing(workload)
    chosen = [
        s
        for i, s in enumerate(SYSTEMS[workload])
        if s not in absent and (i == 0 or not only or any(part.lower() in s.name.lower() for part in only))
    ]
    context = multiprocessing.get_context("spawn")
    workers: list[tuple[Connection, Measured]] = []
    processes = []
    try:
        for system in chosen:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, workload, shape, system.name), daemon=True)
            with _environment(THREADS if system.needs else WORKER_ENVIRONMENT):  # peers as they are shipped
                process.start()
            processes.append(process)
            orders = ("unsorted", "bucketed") if system.needs else ("packed",)
            for order in orders:
                began = time.monotonic()
                _ask(ours, ("warm", order))
                workers.append((ours, Measured(system.name, order)))
                _say(f"{workload}, {shape}: {system.name}, {order}: warm after {time.monotonic() - began:.0f} s")
        for number in range(rounds):
            began = time.monotonic()
            for connection, measured in workers:
                rate, share, memory = _ask(connection, ("measure", measured.order))
                measured.rates.append(rate)
                measured.shares.append(share)
                measured.memory = max(measured.memory, memory)
            left = (rounds - number - 1) * (time.monotonic() - began) / 60
            _say(f"{workload}, {shape}: round {number + 1} of {rounds}; {left:.0f} min left")
    finally:
        for process in processes:
            process.kill()
    return [measured for _, measured in workers]


@contextmanager
def _environment(changed: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes started within this block."""
    before = dict(os.environ)
    os.environ.update(changed)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _ask(connection: Connection, question: tuple[str, str]) -> tuple:
    connection.send(question)
    answer = connection.recv()
    if isinstance(answer, str):
        raise RuntimeError(answer)
    return answer


def _serve(connection: Connection, workload: str, shape: str, name: str) -> None:
    """The process of one system; `ablate.bench.against` also calls it in older checkouts."""
    import traceback

    try:
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(0)
        (system,) = (s for s in SYSTEMS[workload] if s.name == name)
        step = system.make(shape)
        kind = WORKLOADS[workload]
        amount, flops = float(kind.lengths().sum()), {}
        while True:
            task, order = connection.recv()
            batches = kind.batches(order == "bucketed")
            if task == "warm":
                flops[order] = _counted(step, batches)
                connection.send(())
                continue
            peak = gemm(getattr(torch, system.dtype))
            with open("/proc/self/clear_refs", "w") as refs:
                refs.write("5")  # forget the peak of resident memory
            began = time.perf_counter()
            for batch in batches:
                step(batch)
            seconds = time.perf_counter() - began
            connection.send((amount / seconds, flops[order] / seconds / peak, _peak_memory()))
    except EOFError:
        pass
    except Exception:
        connection.send(traceback.format_exc())


def _counted(step, batches) -> int:
    """Number of matrix-product operations in a pass over the batches, forward and backward (which also warms up)."""
    with counting() as counter:
        for batch in batches:
            step(batch)
    return counter.get_total_flops()


@contextmanager
def counting() -> Iterator:
    """Count the operations of matrix products within this block: yields torch's counter."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # fused attention is not counted
        yield counter


def gemm(dtype, device="cpu") -> float:
    """Operations per second of a large matrix product in this process: the best of several."""
    import torch

    a, b = torch.randn(2, GEMM, GEMM, device=device).to(dtype).unbind()
    times = []
    for _ in range(8):
        began = time.perf_counter()
        torch.mm(a, b)[0, 0].item()  # a GPU is waited for
        times.append(time.perf_counter() - began)
    return 2 * GEMM**3 / min(times)


def _peak_memory() -> float:
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e6


def _figure(x: float) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}"


def table(workload: str, shape: str, measured: Sequence[Measured]) -> str:
    """The comparison as Markdown: medians over rounds, ratios to the first system round by round."""
    first, unit = measured[0], WORKLOADS[workload].unit
    lines = [
        f"### {workload}, {shape}",
        "",
        (
            f"| system | batches | {unit} per s | ablate is faster by | share of GEMM peak | peak memory, GB | ablate "
            "needs |"
        ),
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for one in measured:
        faster = statistics.median(a / b for a, b in zip(first.rates, one.rates))
        lines.append(
            f"| {one.name} | {one.order} | {_figure(statistics.median(one.rates))} | {faster:.2f}× "
            f"| {statistics.median(one.shares):.2f} | {one.memory:.2f} | {first.memory / one.memory:.2f}× |"
        )
    return "\n".join(lines) + "\n"
