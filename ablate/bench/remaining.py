"""Run a sweep and compare what was said of the time left with what was left.

    python -m ablate.bench.remaining [--busy] [--whole] [--root DIR] [KEY=VALUE ...]

It runs the small version of the default sweep, or with --whole that sweep, in a fresh folder, and prints a table: the
estimate before anything runs, and when a fifth, half and nine tenths of the work were done. With --busy another
process keeps a core busy meanwhile. The exit status is 1 if the estimates at a fifth and at half are off by more than
the limit.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ablate.clusters import local
from ablate.clusters.display import between, duration, left_text
from ablate.clusters.remaining import Left
from ablate.clusters.resources import Resources
from ablate.clusters.schedule import DONE, FAILED, RUNNING, Board
from ablate.drive import PROGRAM, _plan
from ablate.store.child import unbroken
from ablate.store.stage import materialise

SWEEP = Path(__file__).resolve().parents[2] / "sweeps" / "objectives.yaml"
LIMIT = 0.25  # of the truth
SHARES = {0.0: False, 0.2: True, 0.5: True, 0.9: False}  # of the work, and whether the limit holds there
EVERY, TELL = 1.0, 30  # seconds between two estimates, and estimates between two lines
BUSY = "while True: pass"


@dataclass(frozen=True)
class Said:
    """What was said at a time, in seconds since the run began."""

    when: float
    left: Left
    load: float


def main(arguments: list[str] | None = None) -> int:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m ablate.bench.remaining", description=__doc__.splitlines()[0])
    parser.add_argument("--busy", action="store_true", help="beside a process that keeps a core busy")
    parser.add_argument("--whole", action="store_true", help="the default sweep, not its small version")
    parser.add_argument("--root", type=Path, help="where runs go, if records there are to be used (default: nowhere)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to the sweep")
    options = parser.parse_args(arguments)
    busy = subprocess.Popen([sys.executable, "-c", BUSY]) if options.busy else None
    try:
        with tempfile.TemporaryDirectory(prefix="ablate-remaining-") as folder:
            root = options.root or Path(folder) / "runs"
            return measure(root, not options.whole, options.overrides, options.busy)
    finally:
        if busy is not None:
            busy.kill()


def measure(root: Path, quick: bool, overrides: list[str], busy: bool) -> int:
    """Run the sweep, and print what was said of the time left beside what was left."""
    plan = local.call(PROGRAM.preload, _plan, str(SWEEP), [*overrides, f"root={root}"], quick, (), ())
    board = Board(plan.stages, root)
    cluster = local.Local(board, plan.name, Resources({}, plan.kinds), PROGRAM, plan.workers)
    materialise(plan, root)
    began, events = board.clock(), []
    said = [Said(0.0, cluster.remaining.estimate(), os.getloadavg()[0])]

    def show(board: Board) -> None:
        now = board.clock() - began
        events.extend((now, id, state) for id, state in board.events)
        board.events.clear()
        if now - said[-1].when >= EVERY:
            said.append(Said(now, cluster.remaining.estimate(), os.getloadavg()[0]))
            if len(said) % TELL == 0:
                line = f"{duration(now)}: {board.count(DONE)}/{len(board.stages)} done, {left_text(said[-1].left)}"
                print(line, file=sys.stderr, flush=True)

    cluster.run(show, lambda: 0)
    whole = board.clock() - began
    if failed := board.count(FAILED):
        print(f"error: {failed} stages failed; see their logs under {root}", file=sys.stderr)
        return 1
    beside = ", beside a busy process" if busy else ""
    print(f"{plan.name}, {len(board.stages)} stages on {cluster.workers} workers{beside}: {duration(whole)}\n")
    return told(said, whole, ran(events))


def ran(events: list[tuple[float, str, str]]) -> list[tuple[float, float]]:
    """Return when each stage began and ended, from what the board said."""
    starts = {id: when for when, id, state in events if state == RUNNING}
    return [(starts[id], when) for when, id, state in events if state == DONE and id in starts]


def told(said: list[Said], whole: float, spans: list[tuple[float, float]]) -> int:
    """Print the table of a run that took `whole` seconds; return 1 if an estimate misses its limit."""
    work, missed = sum(end - start for start, end in spans), False
    print("| work done | estimate | range | truth | ratio | truth in range | load |")
    print("|---:|---:|---:|---:|---:|---|---:|")
    for share, limited in SHARES.items():
        one = next((s for s in said if _done(spans, s.when) >= share * work), said[-1])
        truth, all_ = whole - one.when, one.left.all
        ratio, held = all_.likely / truth, all_.low <= truth <= all_.high
        missed |= limited and abs(ratio - 1) > LIMIT
        print(
            f"| {share:.0%} | {all_.likely:.0f} s | {between(all_)} | {truth:.0f} s | {ratio:.2f} | "
            f"{'yes' if held else 'no'} | {one.load:.1f} |"
        )
    inside = [one.left.all.low <= whole - one.when <= one.left.all.high for one in said]
    print(f"\nThe truth lay in the range {sum(inside) / len(inside):.0%} of the time; limit of the ratio at 20 % and")
    print(f"50 %: {1 - LIMIT:g} to {1 + LIMIT:g}.")
    return int(missed)


def _done(spans: list[tuple[float, float]], when: float) -> float:
    """Seconds of work that were done by a time."""
    return sum(max(0.0, min(end, when) - start) for start, end in spans)


if __name__ == "__main__":
    unbroken()
    sys.exit(main())
