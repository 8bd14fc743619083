"""Compare this code with an earlier commit in one run: a second checkout, one process per side, in turns.

The commit is unpacked into a temporary folder, which is removed at the end, and runs there with its own modules. The
entries that the benches of older commits have (`measure._serve`, `plan.measure` and `plan.command`) are called there
and must therefore keep their names and arguments. Every round asks both sides, one after the other, in alternating
order: other load on the machine then affects both, and ratios are taken round by round.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from ablate.bench.items import WORKLOADS
from ablate.errors import UserError, nearest
from ablate.store import machine
from ablate.store.version import code_version, label, own_repository

HERE = Path(__file__).resolve().parents[2]
ROUNDS = 6  # an even number, so that each side begins equally often
LIST = """
import importlib.util, json, ablate
from ablate.bench import measure
systems = {
    w: [[s.name, s.needs, not s.needs or importlib.util.find_spec(s.needs) is not None] for s in measure.SYSTEMS[w]]
    for w in measure.SYSTEMS
}
environments = {"ours": measure.WORKER_ENVIRONMENT, "peers": measure.THREADS}
print(json.dumps({"file": ablate.__file__, "systems": systems, "environments": environments}))
"""
STEPS = """
import sys
from multiprocessing.connection import Connection
from ablate.bench.measure import _serve
_serve(Connection(int(sys.argv[1])), *sys.argv[2:])
"""
PLANS = """
import contextlib, os, sys, traceback
from multiprocessing.connection import Connection
from pathlib import Path
connection = Connection(int(sys.argv[1]))
try:
    from ablate.bench import plan
    command, asked = plan.command, []
    plan.command = lambda overrides: asked.append(overrides) or command(overrides)
    plan.submitted = lambda *_: (0.0, 0.0)  # no queue is asked for this
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        plan.measure(int(sys.argv[2]), Path(sys.argv[3]) / "done", {})
    again = asked[-1]
    first = [f"root={sys.argv[3]}/empty" if o.startswith("root=") else o for o in again]
    connection.send(())
    while True:
        connection.send(command({"planned": first, "planned again": again}[connection.recv()]))
except EOFError:
    pass
except Exception:
    connection.send(traceback.format_exc())
"""


@dataclass(frozen=True)
class Side:
    """A checkout under measurement."""

    name: str  # displayed name
    folder: Path

    def environment(self, changed: Mapping[str, str]) -> dict[str, str]:
        """Environment variables of a process that runs there."""
        return {**os.environ, **changed, "PYTHONPATH": str(self.folder)}


@dataclass(frozen=True)
class Ratio:
    """The median of a ratio over rounds, with its range."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(pairs: Sequence[tuple[float, float]]) -> Ratio:
        """The ratio of the first figure to the second, round by round."""
        ratios = [one / other for one, other in pairs]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.median:.2f}× ({self.least:.2f} to {self.most:.2f})"


# The checkout -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sides(commit: str, needs: str) -> Iterator[tuple[Side, Side]]:
    """This code, and a commit of it in a temporary folder that is removed at the end in any case.

    `needs` is the file that the commit must have. Raises UserError if there is no git, no such commit or no such file.
    """
    if shutil.which("git") is None or _git("rev-parse", "--git-dir").returncode:
        raise UserError(
            f"--against takes an earlier commit from git, but {HERE} is no git checkout, or git is not installed; "
            "clone the repository."
        )
    revision = _git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}")
    if revision.returncode:
        known = _git("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags").stdout.split()
        raise UserError(
            f"--against: this repository has no commit '{commit}'; {nearest(commit, known)} `git log --oneline` lists "
            "commits."
        )
    full = revision.stdout.strip()
    code = _git("ls-tree", "--name-only", full, "--", needs)
    if not code.stdout.strip():
        since = _git("log", "--reverse", "--diff-filter=A", "--format=%h", "--", needs).stdout.split()
        raise UserError(
            f"--against: commit {full[:10]} has no {needs}, so it cannot be measured; "
            + (f"it came with commit {since[0]}." if since else "no commit has it.")
        )
    here = label(code_version())  # both sides then read it from the environment and need not ask git
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with tempfile.TemporaryDirectory(prefix="ablate-against-") as folder:
            archive = Path(folder) / "code.tar"
            subprocess.run(
                ["git", "-C", str(HERE), "archive", f"--output={archive}", full], check=True, env=own_repository()
            )
            with tarfile.open(archive) as file:
                file.extractall(Path(folder) / "code", filter="data")
            yield Side(f"this code ({here})", HERE), Side(f"commit {full[:10]}", Path(folder) / "code")
    finally:
        signal.signal(signal.SIGTERM, before)


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(HERE), *arguments], capture_output=True, text=True, env=own_repository())


# A process on a side ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def process(
    side: Side, code: str, arguments: Sequence[str], changed: Mapping[str, str]
) -> Iterator[Callable[[Any], Any]]:
    """Run `code` on a side; yields a function that asks it a question and returns the answer. The question None sends
    nothing and waits for a message.

    The process ignores Ctrl-C, and is killed at the end. Raises UserError when it fails.
    """
    ours, theirs = Pipe()
    line = [sys.executable, "-c", code, str(theirs.fileno()), *arguments]
    child = subprocess.Popen(
        line, cwd=side.folder, env=side.environment(changed), pass_fds=[theirs.fileno()], start_new_session=True
    )
    theirs.close()

    def ask(question: Any) -> Any:
        try:
            if question is not None:
                ours.send(question)
            answer = ours.recv()
        except (EOFError, ConnectionError):
            raise UserError(
                f"The process of {side.name} died (status {child.wait()}); its messages are above."
            ) from None
        if isinstance(answer, str):
            print(answer, file=sys.stderr)
            raise UserError(
                f"{side.name} cannot be measured: {answer.strip().splitlines()[-1]}; the whole message is above."
            )
        return answer

    try:
        yield ask
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)  # with the processes it started
        child.wait()
        ours.close()


def alternating(
    ask: Callable[[int, str], Any], questions: Sequence[str], rounds: int, say: Callable[[str], None]
) -> dict[str, list[tuple[Any, Any]]]:
    """Ask both sides, 0 and 1, every question in every round; even rounds begin with side 0, odd ones with side 1.

    Returns by question the answers of (side 0, side 1), round by round.
    """
    by_question: dict[str, list[tuple[Any, Any]]] = {question: [] for question in questions}
    began = time.monotonic()
    for number in range(rounds):
        for question in questions:
            answers = {side: ask(side, question) for side in ((0, 1) if number % 2 == 0 else (1, 0))}
            by_question[question].append((answers[0], answers[1]))
        left = (time.monotonic() - began) / (number + 1) * (rounds - number - 1)
        say(f"round {number + 1} of {rounds}; {_duration(left)} left")
    return by_question


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# The benches ------------------------------------------------------------------------------------------------------


def steps(
    commit: str, workloads: Sequence[str], shapes: Sequence[str], rounds: int, only: Sequence[str]
) -> Iterator[str]:
    """Yield a Markdown table a workload and shape: systems that both sides have, ours or those whose names
    hold `only`.
    """
    with sides(commit, "ablate/bench/measure.py") as both:
        listed = [_listed(side) for side in both]
        for workload in workloads:
            here, there = ({n: (needs, able) for n, needs, able in one["systems"].get(workload, ())} for one in listed)
            chosen = [
                name
                for name, (needs, able) in here.items()
                if able
                and name in there
                and (any(part.lower() in name.lower() for part in only) if only else not needs)
            ]
            if not chosen:
                raise UserError(
                    f"--against: no system of {workload} on both sides fits; {nearest(' '.join(only), here)}"
                )
            for shape in shapes:
                lines = [
                    _steps(
                        both,
                        listed,
                        workload,
                        shape,
                        name,
                        bool(here[name][0]),
                        rounds,
                        f"{workload}, {shape}: {name} ({number} of {len(chosen)})",
                    )
                    for number, name in enumerate(chosen, 1)
                ]
                unit = WORKLOADS[workload].unit
                yield "\n".join(
                    [
                        f"### {workload}, {shape}: {both[0].name} against {both[1].name}",
                        "",
                        f"| system | batches | {unit} per s, here | there | faster here by (range) "
                        "| peak memory here, GB | there | needs here (range) |",
                        "|---|---|---:|---:|---:|---:|---:|---:|",
                        *itertools.chain(*lines),
                        "",
                        _circumstances(rounds),
                        "",
                    ]
                )


def _listed(side: Side) -> dict[str, Any]:
    """Systems and environments that a side's own bench reports."""
    done = subprocess.run(
        [sys.executable, "-c", LIST], cwd=side.folder, env=side.environment({}), capture_output=True, text=True
    )
    if done.returncode:
        raise UserError(f"The bench of {side.name} cannot be loaded: {done.stderr.strip().splitlines()[-1]}.")
    listed = json.loads(done.stdout)
    assert Path(listed["file"]).resolve().is_relative_to(side.folder.resolve()), listed["file"]
    return listed


def _steps(both, listed, workload: str, shape: str, name: str, peer: bool, rounds: int, what: str) -> list[str]:
    """Measure a system on both sides; return a line of the table for each order of batches."""
    orders = ("unsorted", "bucketed") if peer else ("packed",)
    with contextlib.ExitStack() as stack:
        asks = [
            stack.enter_context(
                process(side, STEPS, [workload, shape, name], one["environments"]["peers" if peer else "ours"])
            )
            for side, one in zip(both, listed)
        ]
        for order in orders:
            began = time.monotonic()
            for ask in asks:
                ask(("warm", order))
            _say(f"{what}, {order}: both sides warm after {_duration(time.monotonic() - began)}")
        by_order = alternating(
            lambda side, order: asks[side](("measure", order)), orders, rounds, lambda s: _say(f"{what}: {s}")
        )
    return [line(name, order, by_order[order]) for order in orders]


def line(name: str, order: str, figures: Sequence[tuple[Sequence[float], Sequence[float]]]) -> str:
    """A line of the table, from (rate, share of the peak, memory) of both sides, round by round."""
    rates, memory = ([(one[k], other[k]) for one, other in figures] for k in (0, 2))
    cells = [name, order, *(f"{statistics.median(r):,.1f}" for r in zip(*rates)), str(Ratio.of(rates))]
    cells += [*(f"{max(m):.2f}" for m in zip(*memory)), str(Ratio.of(memory))]
    return f"| {' | '.join(cells)} |"


def plans(commit: str, runs: int, rounds: int) -> Iterator[str]:
    """Yield a Markdown table of the seconds that planning takes, at first and when everything is done."""
    questions = ("planned", "planned again")
    with contextlib.ExitStack() as stack:
        both = stack.enter_context(sides(commit, "ablate/bench/plan.py"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ablate-against-")))
        asks = []
        for number, side in enumerate(both):
            began = time.monotonic()
            asks.append(stack.enter_context(process(side, PLANS, [str(runs), str(folder / str(number))], {})))
            asks[-1](None)
            _say(f"{side.name}: {runs:,} runs planned and made up after {_duration(time.monotonic() - began)}")
        by_question = alternating(lambda side, question: asks[side](question), questions, rounds, _say)
    lines = [
        f"### planning {runs:,} runs: {both[0].name} against {both[1].name}",
        "",
        "| | seconds, here | there | here takes (range) |",
        "|---|---:|---:|---:|",
    ]
    for question in questions:
        pairs = [
            (one[0], other[0]) for one, other in by_question[question]
        ]  # the second value is the driver's processor time
        lines.append(
            f"| {question} | {' | '.join(f'{statistics.median(s):.2f}' for s in zip(*pairs))} | {Ratio.of(pairs)} |"
        )
    yield "\n".join([*lines, "", _circumstances(rounds), ""])


def told(tables: Iterator[str]) -> int:
    """Print tables as they come; return the exit status of a command."""
    try:
        for table in tables:
            print(table, flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; the second checkout is removed.", file=sys.stderr)
        return 130
    return 0


def _circumstances(rounds: int) -> str:
    where = machine.label(machine.machine() | {"threads": 1})
    load = f"Load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    return f"Medians of {rounds} rounds in turns; ratios round by round. {load} ({where})."
